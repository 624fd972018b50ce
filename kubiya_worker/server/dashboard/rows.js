// A long list whose rows are all as high: only those in sight are in the document, however many there are.

import { el } from "./text.js";

const AROUND = 6; // rows beyond each edge that are kept
const GUESS = 40; // px of a row before one was measured

export class Rows {
  // `make(thing)` -> {item, link, …}; `update(row, thing)`. A thing has a `key`; `drawn(first, last)`: places in sight.
  constructor(scroller, { make, update, drawn = () => {} }) {
    Object.assign(this, { scroller, make, update, drawn, things: [], known: new Map(), height: GUESS, chosen: null });
    this.above = el("div", {});
    this.below = el("div", {});
    this.rows = el("ol", { class: "line-rows" });
    scroller.replaceChildren(this.above, this.rows, this.below);
    scroller.addEventListener("scroll", () => this.soon(), { passive: true });
    scroller.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => {
      this.measured = false;
      this.soon();
    }).observe(scroller);
  }

  clear() {
    this.known.clear();
    this.things = [];
    this.rows.replaceChildren();
    this.measured = false;
    this.scroller.scrollTop = 0;
  }

  // Whoever sees the end goes on seeing it.
  show(things, chosen) {
    const { scrollTop, clientHeight, scrollHeight } = this.scroller;
    const follow = scrollTop > 0 && scrollHeight - scrollTop - clientHeight < 8;
    Object.assign(this, { things, chosen });
    this.draw();
    if (follow) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  soon() {
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = null;
    const { scrollTop, clientHeight } = this.scroller;
    if (!clientHeight) return; // it is not shown
    const from = Math.max(0, Math.floor(scrollTop / this.height) - AROUND);
    const to = Math.min(this.things.length, Math.ceil((scrollTop + clientHeight) / this.height) + AROUND);
    const seen = new Set();
    let previous = null;
    for (let at = from; at < to; at += 1) {
      const thing = this.things[at];
      seen.add(thing.key);
      let row = this.known.get(thing.key);
      if (!row) this.known.set(thing.key, (row = this.make(thing)));
      row.item.setAttribute("aria-posinset", at + 1);
      row.item.setAttribute("aria-setsize", this.things.length);
      if (thing.key === this.chosen) row.link.setAttribute("aria-current", "true");
      else row.link.removeAttribute("aria-current");
      this.update(row, thing);
      const place = previous ? previous.nextSibling : this.rows.firstChild;
      if (row.item !== place) this.rows.insertBefore(row.item, place);
      previous = row.item;
    }
    for (const [key, row] of this.known) {
      if (seen.has(key) || row.item.contains(document.activeElement)) continue;
      row.item.remove();
      this.known.delete(key);
    }
    this.above.style.height = `${from * this.height}px`;
    this.below.style.height = `${(this.things.length - to) * this.height}px`;
    if (!this.measured && this.rows.firstChild) {
      this.measured = true;
      const height = this.rows.firstChild.getBoundingClientRect().height;
      if (height && Math.abs(height - this.height) > 0.1) {
        this.height = height;
        return this.draw();
      }
    }
    const first = Math.floor(scrollTop / this.height);
    this.drawn(first, Math.min(this.things.length, Math.ceil((scrollTop + clientHeight) / this.height)));
  }

  // The row at a place into sight.
  reveal(at) {
    const { scrollTop, clientHeight } = this.scroller;
    const top = at * this.height;
    if (top < scrollTop) this.scroller.scrollTop = top;
    else if (top + this.height > scrollTop + clientHeight) this.scroller.scrollTop = top + this.height - clientHeight;
    this.draw();
  }

  // The key of the thing whose row has the focus.
  focused() {
    return [...this.known].find(([, row]) => row.item.contains(document.activeElement))?.[0];
  }

  // Arrows, j and k go from row to row, also to those that are not in the document yet.
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (!step || !this.things.length) return;
    const key = this.focused();
    const now = this.things.findIndex((thing) => thing.key === key);
    const at = Math.min(this.things.length - 1, Math.max(0, now < 0 ? Math.floor(this.scroller.scrollTop / this.height) : now + step));
    event.preventDefault();
    this.reveal(at);
    this.known.get(this.things[at].key)?.link.focus({ preventScroll: true });
  }
}
