// What was said, and what was thought. Text of a model is Markdown; what a person typed stays as it was typed.

import { blocks, node } from "./markdown.js";
import { copyButton, downloadButton, lineEnd, size } from "./output.js";
import { clock } from "./clock.js";
import { el } from "./text.js";

const WHOLE = 24_000; // characters that are shown without a cut
const HEAD = 16_000;
const TAIL = 3_000;
const BLOCKS = 120; // that are shown without a cut
const WHO = { user: "You", assistant: "Agent", system: "Control plane" };

export class Message {
  constructor(id, role, data, agent, at) {
    const name = role === "user" ? data.user_name : data.member_name || (role === "assistant" && agent);
    const who = [name || WHO[role] || role, role === "user" && data.member && `to ${data.member}`].filter(Boolean).join(" ");
    Object.assign(this, { id, role, who, at, text: "", complete: false, element: null });
  }

  make() {
    this.body = el("div", { class: this.role === "assistant" ? "body" : "body prose" });
    this.more = el("div", { class: "pick" });
    this.markdown = new Markdown(this.body);
    const head = el("div", { class: "message-head" }, el("h3", { class: "who" }, this.who), this.at ? clock(this.at) : null, this.more);
    this.element = el("section", { class: `message ${this.role}` }, head, this.body);
    this.update();
    return this.element;
  }

  update() {
    if (this.role === "assistant") this.markdown.show(this.text);
    else if (this.shown !== this.text) this.body.replaceChildren(this.text.slice(0, WHOLE), this.text.length > WHOLE ? `\n… ${size(this.text.length - WHOLE)} more` : "");
    this.element.hidden = !this.text.trim();
    this.element.classList.toggle("streaming", !this.complete && this.role === "assistant");
    const picks = this.complete && this.role !== "system";
    if (picks && !this.more.hasChildNodes()) {
      this.more.append(copyButton(() => this.text, `what ${this.who} said`), this.text.length > WHOLE ? downloadButton(() => this.text, "message.md") : "");
    } else if (!picks) this.more.replaceChildren();
  }
}

export class Thinking {
  constructor() {
    Object.assign(this, { text: "", element: null, open: false });
  }

  make() {
    this.body = el("pre", { class: "output", tabindex: "0", "aria-label": "Thinking" });
    this.element = el("details", { class: "thinking", open: this.open }, el("summary", {}, "Thinking"), this.body);
    this.element.addEventListener("toggle", () => {
      this.open = this.element?.open;
      if (this.element) this.update();
    });
    this.update();
    return this.element;
  }

  update() {
    const cut = this.text.length > WHOLE ? `… ${size(this.text.length - WHOLE)} before …\n` : "";
    this.body.textContent = this.open ? cut + this.text.slice(-WHOLE) : "";
  }
}

// Markdown that grows: blocks that cannot change any more are not made again.
export class Markdown {
  constructor(root) {
    Object.assign(this, { root, text: "", at: 0, nodes: 0, limit: HEAD, most: BLOCKS });
  }

  show(text) {
    if (text === this.text && this.nodes) return;
    if (!text.startsWith(this.text)) this.again();
    this.text = text;
    const end = text.length > Math.max(WHOLE, this.limit + TAIL) ? lineEnd(text, this.limit) : text.length;
    const found = blocks(text.slice(this.at, end));
    const kept = found.slice(0, Math.max(0, this.most - this.nodes));
    while (this.root.childNodes.length > this.nodes) this.root.lastChild.remove();
    this.root.append(...kept.map(node));
    const cut = kept.length < found.length || end < text.length;
    const stable = cut ? kept.length : Math.max(0, found.length - 2);
    this.nodes += stable;
    if (stable < found.length) this.at += found[stable].start;
    else if (cut) this.at = end;
    if (cut) this.root.append(...this.rest(text, this.at));
  }

  again() {
    this.root.replaceChildren();
    Object.assign(this, { text: "", at: 0, nodes: 0 });
  }

  // What stands for the part that is not shown, and the end of the text as it is.
  rest(text, shown) {
    const tail = Math.max(shown, text.length - TAIL);
    const more = () => {
      this.limit += 2 * HEAD;
      this.most += BLOCKS;
      const whole = this.text;
      this.again();
      this.show(whole);
    };
    const button = el("button", { type: "button", class: "quiet small", onclick: more }, "Show more");
    const gap = el("p", { class: "gap" }, `… ${size(tail - shown)} of ${size(text.length)} not shown …`, button);
    return [...(tail > shown ? [gap] : [el("p", { class: "gap" }, button)]), el("p", { class: "prose" }, text.slice(tail))];
  }
}
