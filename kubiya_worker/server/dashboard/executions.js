// The list of executions: newest first.

import { clock } from "./clock.js";
import { List, set, setStatus } from "./list.js";
import { el, oneLine, took } from "./text.js";

export class Executions extends List {
  make(execution) {
    const prompt = el("span", { class: "row-prompt" }, oneLine(execution.prompt));
    const status = el("span", { class: "status" });
    const facts = el("span", { class: "row-facts" });
    const used = el("span", { class: "row-facts" });
    const when = el("span", { class: "row-line" }, clock(execution.created_at), used);
    const link = el("a", { href: `#/executions/${encodeURIComponent(execution.id)}` }, prompt, el("span", { class: "row-line" }, status, facts), when);
    return { item: el("li", {}, link), link, status, facts, used };
  }

  update(row, execution) {
    setStatus(row.status, execution.status, this.waiting.has(execution.id));
    set(row.facts, [execution.entity_name, execution.runner_name].filter(Boolean).join(" · "));
    set(row.used, used(execution).join(" · "));
  }
}

// What it took: time, tokens and cost, as far as they are known.
export function used(execution) {
  return [took(execution), dollars(execution.usage?.cost_usd)].filter(Boolean);
}

export function dollars(amount) {
  if (!amount) return "";
  return amount < 0.01 ? `$${amount.toFixed(4)}` : `$${amount.toFixed(2)}`;
}
