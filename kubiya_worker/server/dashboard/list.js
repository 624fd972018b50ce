// A list that is asked for again and again. Its rows are kept and changed, so that focus stays where it is.

import { el, statusText } from "./text.js";

export class List {
  // Subclasses make a row, `make(thing)` -> {item, link, …}, and change it, `update(row, thing)`.
  constructor(rows, empty) {
    Object.assign(this, { rows, empty });
    this.known = new Map();
  }

  // `waiting`: ids of executions that ask a person something.
  show(things, chosen, emptyText, waiting = new Set()) {
    this.waiting = waiting;
    const seen = new Set();
    let previous = null;
    for (const thing of things) {
      seen.add(thing.id);
      let row = this.known.get(thing.id);
      if (!row) this.known.set(thing.id, (row = this.make(thing)));
      this.update(row, thing);
      if (thing.id === chosen) row.link.setAttribute("aria-current", "page");
      else row.link.removeAttribute("aria-current");
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
    this.empty.hidden = things.length > 0;
    say(this.empty, emptyText);
  }

  clear() {
    this.rows.replaceChildren();
    this.known.clear();
  }
}

// A text in which `commands` stand between backticks.
function say(element, text) {
  const parts = text.split("`");
  if (element.textContent !== parts.join("")) element.replaceChildren(...parts.map((part, at) => (at % 2 ? el("code", {}, part) : part)));
}

// The status of an execution; one that asks a person something says so.
export function setStatus(element, status, asks) {
  set(element, asks ? "needs approval" : statusText(status));
  element.dataset.status = asks ? "approval" : status;
}

// A text that is the same is not set again: what a person has marked stays marked.
export function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
