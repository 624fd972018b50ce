// The list of executions: newest first.

import { List, set, setStatus } from "./list.js";
import { age, el, oneLine } from "./text.js";

export class Executions extends List {
  make(execution) {
    const prompt = el("span", { class: "row-prompt" }, oneLine(execution.prompt));
    const status = el("span", { class: "status" });
    const facts = el("span", { class: "row-facts" });
    const line = el("span", { class: "row-line" }, status, facts);
    const link = el("a", { href: `#/executions/${encodeURIComponent(execution.id)}` }, prompt, line);
    return { item: el("li", {}, link), link, status, facts };
  }

  update(row, execution) {
    setStatus(row.status, execution.status, this.waiting.has(execution.id));
    set(row.facts, [execution.entity_name, age(execution.created_at)].filter(Boolean).join(" · "));
  }
}
