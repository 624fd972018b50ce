// The list: newest first, refreshed while the page is seen. Rows are kept and changed, so that focus stays where it is.

import { age, el, oneLine, statusText } from "./text.js";

export class List {
  constructor(rows, empty) {
    Object.assign(this, { rows, empty });
    this.known = new Map();
  }

  show(executions, waiting, chosen, emptyText) {
    const seen = new Set();
    let previous = null;
    for (const execution of executions) {
      seen.add(execution.id);
      const row = this.known.get(execution.id) || this.make(execution);
      this.update(row, execution, waiting.has(execution.id), execution.id === chosen);
      const place = previous ? previous.nextSibling : this.rows.firstChild;
      if (row.item !== place) this.rows.insertBefore(row.item, place);
      previous = row.item;
    }
    for (const [id, row] of this.known) {
      if (!seen.has(id)) {
        row.item.remove();
        this.known.delete(id);
      }
    }
    this.empty.hidden = executions.length > 0;
    this.empty.textContent = emptyText;
  }

  make(execution) {
    const prompt = el("span", { class: "row-prompt" }, oneLine(execution.prompt));
    const status = el("span", { class: "status" });
    const facts = el("span", { class: "row-facts" });
    const link = el("a", { href: `#/executions/${encodeURIComponent(execution.id)}` }, prompt, el("span", { class: "row-line" }, status, facts));
    const row = { item: el("li", {}, link), link, status, facts };
    this.known.set(execution.id, row);
    return row;
  }

  update(row, execution, asks, chosen) {
    const status = asks ? "approval" : execution.status;
    set(row.status, asks ? "needs approval" : statusText(execution.status));
    row.status.dataset.status = status;
    set(row.facts, [execution.entity_name, age(execution.created_at)].filter(Boolean).join(" · "));
    if (chosen) row.link.setAttribute("aria-current", "page");
    else row.link.removeAttribute("aria-current");
  }
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
