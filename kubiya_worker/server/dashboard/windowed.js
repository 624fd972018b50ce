// A long list of which only a part is in the document: its end, until a person asks for what is earlier.
//
// An item has `make()`, which returns its element as it is now, and `update()`, which changes that element; `element` is
// null while it is not in the document. Nothing is drawn before the next frame, however much came.

import { el } from "./text.js";

const STEP = 40; // items that "show earlier" adds
const NEAR = 80; // px from an end that count as being there

export class Windowed {
  // `most`: elements that may be in the document at once. `scroller`: what scrolls; null for a list within an item, which
  // has buttons only. `drawn()` is called after each drawing.
  constructor(root, { most, scroller = null, drawn = () => {} }) {
    Object.assign(this, { root, most, scroller, drawn });
    this.earlier = el("button", { type: "button", class: "quiet more-items earlier", hidden: true, onclick: () => this.showEarlier() });
    this.later = el("button", { type: "button", class: "quiet more-items later", hidden: true, onclick: () => this.toEnd() });
    this.clear();
  }

  clear() {
    for (const item of this.items || []) Object.assign(item, { element: null, shown: false });
    this.items = [];
    this.from = this.to = 0; // the items in the document
    this.weight = 0; // their elements
    this.whole = true; // the last item was in the document when it was drawn
    this.dirty = new Set();
    this.wanted = 0; // of earlier items
    this.end = true; // the end is to be seen
    this.held = false; // a person has asked for earlier items, where nothing scrolls
    this.root.replaceChildren(this.earlier, this.later);
    this.labels();
  }

  push(item) {
    item.list = this;
    this.items.push(item);
    this.soon();
  }

  // An item that has to stand at the end again.
  again(item) {
    this.remove(item);
    this.push(item);
  }

  remove(item) {
    const at = this.items.indexOf(item);
    if (at < 0) return;
    if (item.shown) this.drop(item);
    this.items.splice(at, 1);
    if (at < this.from) this.from -= 1;
    if (at < this.to) this.to -= 1;
    this.soon();
  }

  change(item) {
    this.dirty.add(item);
    this.soon();
  }

  // Takes everything out of the document while the list is not shown; `wake` puts back what was seen.
  rest() {
    if (this.resting) return;
    const end = !this.scroller.clientHeight || this.end || this.atEnd();
    const seen = end ? null : this.items.slice(this.from, this.to).find(({ element }) => element.getBoundingClientRect().bottom > this.scroller.getBoundingClientRect().top);
    this.resting = { seen };
    while (this.from < this.to) this.drop(this.items[this.from++]);
    this.labels();
  }

  wake() {
    if (!this.resting) return;
    const { seen } = this.resting;
    this.resting = null;
    if (seen) this.reveal(seen);
    else {
      this.end = true;
      this.from = this.to = Math.max(0, this.items.length - Math.ceil(this.most / 4)); // the end is put back by drawing
    }
    this.soon();
  }

  soon() {
    if (this.resting) return;
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = null;
    if (this.resting) return;
    const follows = !this.wanted && (this.scroller ? this.end || this.atEnd() : !this.held);
    const anchor = follows ? null : this.anchor();
    if (follows && this.to < this.items.length) this.extend();
    for (const item of this.dirty) this.redraw(item);
    this.dirty.clear();
    if (!follows) while (this.to < this.items.length && this.weight < this.most) this.put(this.to++, this.later);
    if (this.wanted) this.prepend();
    else if (follows) while (this.weight > this.most && this.to - this.from > 1) this.drop(this.items[this.from++]);
    this.labels();
    this.whole = this.to === this.items.length;
    if (follows && this.scroller) this.scroller.scrollTop = this.scroller.scrollHeight;
    else if (anchor?.element.isConnected) this.pane.scrollTop += anchor.element.getBoundingClientRect().top - anchor.top;
    this.end = false;
    this.drawn();
  }

  redraw(item) {
    if (item.element) item.update();
    if (!item.shown) return;
    this.weight -= item.weight;
    this.weight += item.weight = weightOf(item.element);
  }

  // The end of the list into the document. Where much came at once, what would leave again is never made.
  extend() {
    const first = Math.max(this.to, this.items.length - Math.ceil(this.most / 4));
    if (first > this.to) {
      for (let at = this.from; at < this.to; at += 1) this.drop(this.items[at]);
      this.from = this.to = first;
    }
    while (this.to < this.items.length) this.put(this.to++, this.later);
  }

  // Earlier items, in place of the last ones where there are too many.
  prepend() {
    for (; this.wanted && this.from > 0; this.wanted -= 1) this.put(--this.from, this.earlier.nextSibling);
    this.wanted = 0;
    while (this.weight > this.most && this.to - this.from > STEP) this.drop(this.items[--this.to]);
  }

  put(at, before) {
    const item = this.items[at];
    item.element ??= item.make();
    item.shown = true;
    item.weight = weightOf(item.element);
    this.weight += item.weight;
    this.root.insertBefore(item.element, before);
  }

  drop(item) {
    this.weight -= item.weight;
    item.element.remove();
    item.shown = false;
    if (!item.keeps) item.element = null;
  }

  labels() {
    const after = this.items.length - this.to;
    this.earlier.hidden = !this.from;
    this.later.hidden = !after;
    if (this.from) this.earlier.textContent = `Show earlier (${this.from.toLocaleString("en")} more)`;
    if (after) this.later.textContent = `To the end (${after.toLocaleString("en")} more)`;
  }

  // Whoever sees the end goes on seeing it.
  atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    return this.whole && scrollHeight - scrollTop - clientHeight < NEAR;
  }

  // What scrolls this list, or what it is in.
  get pane() {
    return this.scroller || this.root.closest(".timeline");
  }

  // The first item that is seen: it stays where it is, whatever changes above it.
  anchor() {
    if (!this.pane) return null;
    const edge = this.pane.getBoundingClientRect().top;
    for (let at = this.from; at < this.to; at += 1) {
      const { element } = this.items[at];
      const { top, bottom } = element.getBoundingClientRect();
      if (bottom > edge) return { element, top };
    }
    return null;
  }

  showEarlier() {
    this.wanted = STEP;
    this.held = true;
    this.soon();
  }

  // Called when it was scrolled.
  scrolled() {
    if (this.from && this.scroller.scrollTop < NEAR) this.showEarlier();
  }

  toEnd() {
    this.end = true;
    this.held = false;
    this.soon();
  }

  // The item into the document, and into sight.
  reveal(item) {
    const at = this.items.indexOf(item);
    if (at < 0) return;
    if (!item.shown) {
      while (this.from < this.to) this.drop(this.items[this.from++]);
      this.from = this.to = Math.max(0, at - 5);
      while (this.to < this.items.length && (this.to <= at || this.weight < this.most / 2)) this.put(this.to++, this.later);
      this.labels();
      this.whole = this.to === this.items.length;
    }
    item.element.scrollIntoView({ block: "start" });
  }
}

function weightOf(element) {
  return 1 + element.getElementsByTagName("*").length;
}
