// The list of executions: newest first.

import { List, set } from "./list.js";
import { age, el, oneLine, statusText } from "./text.js";

export class Executions extends List {
  // `waiting`: ids of those that ask a person something.
  show(executions, chosen, emptyText, waiting) {
    this.waiting = waiting;
    super.show(executions, chosen, emptyText);
  }

  make(execution) {
    const prompt = el("span", { class: "row-prompt" }, oneLine(execution.prompt));
    const status = el("span", { class: "status" });
    const facts = el("span", { class: "row-facts" });
    const line = el("span", { class: "row-line" }, status, facts);
    const link = el("a", { href: `#/executions/${encodeURIComponent(execution.id)}` }, prompt, line);
    return { item: el("li", {}, link), link, status, facts };
  }

  update(row, execution) {
    const asks = this.waiting.has(execution.id);
    set(row.status, asks ? "needs approval" : statusText(execution.status));
    row.status.dataset.status = asks ? "approval" : execution.status;
    set(row.facts, [execution.entity_name, age(execution.created_at)].filter(Boolean).join(" · "));
  }
}
