// One tool call: what it is about in a line; inside, its arguments, what a member did for it, and its output.

import { argumentList, duration, el, oneLine, summary } from "./text.js";

const OUTCOMES = { denied: "denied", expired: "expired", unknown: "outcome unknown" };

export class Tool {
  constructor(data) {
    this.state = el("span", { class: "tool-state" });
    this.line = el("code", { class: "tool-line" });
    this.body = el("div", { class: "tool-body" });
    this.chosen = false; // a person has opened or closed it
    const name = el("span", { class: "tool-name" }, String(data.tool_name));
    const head = el("summary", { onclick: () => (this.chosen = true) }, name, this.line, this.state);
    this.element = el("details", { class: "tool" }, head, this.body);
  }

  started(data) {
    const values = data.tool_arguments ?? data.tool_input ?? {};
    this.line.textContent = oneLine(summary(values), 300);
    this.body.replaceChildren(argumentList(values), ...(this.members ? [this.members] : []));
    this.show("running", "running");
  }

  // Where the work of the member goes that this call has asked. It is seen while it happens.
  inside() {
    if (!this.members) {
      this.members = el("div", { class: "members" });
      this.body.append(this.members);
      if (this.element.dataset.state === "running" && !this.chosen) this.element.open = true;
    }
    return this.members;
  }

  completed(data) {
    const good = ["success", "completed"].includes(String(data.status ?? data.tool_status).toLowerCase());
    const words = [OUTCOMES[data.outcome] || (good ? "done" : "failed"), duration(data.duration_seconds ?? NaN)];
    this.show(good ? "good" : "bad", words.filter(Boolean).join(", "));
    const output = typeof data.tool_output === "string" ? data.tool_output : data.tool_output ? JSON.stringify(data.tool_output, null, 2) : "";
    const parts = [];
    if (data.tool_error && !output.includes(data.tool_error)) parts.push(el("pre", { class: "output bad", tabindex: "0", "aria-label": "Error" }, String(data.tool_error)));
    if (output.trim()) parts.push(el("pre", { class: "output", tabindex: "0", "aria-label": "Output" }, output.replace(/\n$/, "")));
    if (!parts.length) parts.push(el("p", { class: "help" }, "No output"));
    this.body.append(...parts);
    if (!good) this.element.open = true;
    else if (this.members && !this.chosen && !this.read()) this.element.open = false;
  }

  // Whether somebody seems to look at it: then it does not close by itself.
  read() {
    return this.element.matches(":hover") || this.element.contains(document.activeElement);
  }

  show(kind, text) {
    this.state.textContent = text;
    this.element.dataset.state = kind;
  }
}
