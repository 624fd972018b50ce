// One tool call: what it is about in a line; inside, its arguments, what a member did for it, and its output.

import { drawing, fenced } from "./drawing.js";
import { argumentList, output } from "./output.js";
import { duration, el, oneLine, summary } from "./text.js";
import { Windowed } from "./windowed.js";

const OUTCOMES = { denied: "denied", expired: "expired", unknown: "outcome unknown" };
const INSIDE = 200; // elements of what a member did

export class Tool {
  constructor(data) {
    Object.assign(this, { name: String(data.tool_name), id: String(data.tool_execution_id), element: null, members: null });
    Object.assign(this, { state: "", words: "", values: null, result: null, open: false });
    this.chosen = false; // a person has opened or closed it
  }

  started(data) {
    this.values = data.tool_arguments ?? data.tool_input ?? {};
    this.show("running", "running");
  }

  completed(data) {
    const good = ["success", "completed"].includes(String(data.status ?? data.tool_status).toLowerCase());
    const words = [OUTCOMES[data.outcome] || (good ? "done" : "failed"), duration(data.duration_seconds ?? NaN)];
    const text = typeof data.tool_output === "string" ? data.tool_output : data.tool_output ? JSON.stringify(data.tool_output, null, 2) : "";
    const error = data.tool_error && !text.includes(data.tool_error) ? String(data.tool_error) : "";
    this.result = { text: text.replace(/\n$/, ""), error };
    if (!good) this.open = true;
    else if (this.members && !this.chosen && !this.read()) this.open = false;
    this.show(good ? "good" : "bad", words.filter(Boolean).join(", "));
  }

  // Where the work of the member goes that this call has asked. It is seen while it happens.
  inside() {
    if (!this.members) {
      this.members = new Windowed(el("div", { class: "members" }), { most: INSIDE });
      if (this.state === "running" && !this.chosen) this.open = true;
      this.list?.change(this);
    }
    return this.members;
  }

  show(state, words) {
    Object.assign(this, { state, words });
    this.list?.change(this);
  }

  make() {
    this.told = el("span", { class: "tool-state" });
    this.line = el("code", { class: "tool-line" });
    this.body = el("div", { class: "tool-body" });
    const head = el("summary", { onclick: () => (this.chosen = true) }, el("span", { class: "tool-name" }, this.name), this.line, this.told);
    this.element = el("details", { class: "tool" }, head, this.body);
    this.filled = ""; // what the body shows
    this.applied = false; // what `update` made of `open`: anything else in the element is a person's doing
    this.update();
    this.element.addEventListener("toggle", () => this.toggled() && this.list.change(this));
    return this.element;
  }

  // Take over what a person opened or closed. The event for what `update` did comes later, and may be out of date by then.
  toggled() {
    if (!this.element || this.element.open === this.applied) return false;
    this.open = this.applied = this.element.open;
    return true;
  }

  update() {
    this.toggled();
    this.line.textContent = oneLine(summary(this.values ?? {}), 300);
    this.told.textContent = this.words;
    this.element.dataset.state = this.state;
    this.element.open = this.applied = this.open;
    this.fill();
  }

  // The inside is made when it is seen: thousands of calls are listed, and few are opened.
  fill() {
    const wanted = this.open ? `${Boolean(this.values)} ${Boolean(this.members)} ${Boolean(this.result)}` : "";
    if (wanted === this.filled) return;
    this.filled = wanted;
    if (!this.open) return this.body.replaceChildren();
    const kept = this.body.contains(this.members?.root ?? null); // what is in it may have the focus
    for (const child of [...this.body.children]) if (!kept || child !== this.members.root) child.remove();
    if (this.values) this.body.prepend(argumentList(this.values));
    if (this.members && !kept) this.body.append(this.members.root);
    if (this.result) this.body.append(...this.outcome());
  }

  outcome() {
    const { text, error } = this.result;
    const parts = [];
    if (error) parts.push(output(error, { label: "Error", bad: true, name: `${this.name}-error.txt` }));
    const diagram = fenced(text);
    const picture = diagram === null ? null : drawing(diagram);
    if (picture) parts.push(picture);
    else if (text.trim()) parts.push(output(text, { name: `${this.name}.txt` }));
    return parts.length ? parts : [el("p", { class: "help" }, "No output")];
  }

  // Whether somebody seems to look at it: then it does not close by itself.
  read() {
    return this.element && (this.element.matches(":hover") || this.element.contains(document.activeElement));
  }
}
