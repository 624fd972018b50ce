// The events of an execution as they are: all of them, by type and text, to read, copy and download.

import { clock } from "./clock.js";
import { set } from "./list.js";
import { download } from "./output.js";
import { Rows } from "./rows.js";
import { $, el, oneLine } from "./text.js";

export class RawEvents {
  // `address(sequence)`: of the page that shows an event.
  constructor({ address }) {
    Object.assign(this, { address, list: [], bySequence: new Map(), types: new Set() });
    this.rows = new Rows($("event-rows"), { make: (event) => this.make(event), update() {} });
    $("event-type").addEventListener("change", () => this.draw());
    $("event-text").addEventListener("input", () => this.draw());
    $("event-download").addEventListener("click", () => {
      download(this.shown.map(({ key, ...event }) => `${JSON.stringify(event)}\n`), `${this.name}.ndjson`, "application/x-ndjson");
    });
  }

  clear(name = "") {
    this.rows.clear();
    Object.assign(this, { name, list: [], bySequence: new Map(), types: new Set(), texts: new WeakMap() });
    $("event-type").replaceChildren(el("option", { value: "" }, "All types"));
    $("event-text").value = "";
  }

  add(type, data, timestamp, sequence) {
    const event = { key: String(sequence), sequence, type, timestamp: timestamp || data.timestamp || null, data };
    this.list.push(event);
    if (sequence) this.bySequence.set(sequence, event);
    this.types.add(type);
  }

  get shown() {
    const [type, text] = [$("event-type").value, $("event-text").value.trim().toLowerCase()];
    if (!type && !text) return this.list;
    return this.list.filter((event) => (!type || event.type === type) && (!text || this.text(event).toLowerCase().includes(text)));
  }

  text(event) {
    if (!this.texts.has(event)) this.texts.set(event, JSON.stringify(event.data));
    return this.texts.get(event);
  }

  show(chosen) {
    this.chosen = chosen;
    this.draw();
  }

  draw() {
    if ($("run-events").hidden) return;
    if ($("event-type").options.length !== this.types.size + 1) {
      const chosen = $("event-type").value;
      $("event-type").replaceChildren(el("option", { value: "" }, "All types"), ...[...this.types].sort().map((type) => el("option", { value: type }, type)));
      $("event-type").value = chosen;
    }
    const shown = this.shown;
    set($("event-count"), `${shown.length.toLocaleString("en")} of ${this.list.length.toLocaleString("en")}`);
    this.rows.show(shown, this.chosen);
  }

  make(event) {
    const text = oneLine(this.text(event).slice(0, 400), 200);
    const when = event.timestamp ? clock(event.timestamp) : el("span", {});
    const link = el("a", { href: this.address(event.sequence), class: "event" }, el("span", { class: "step-kind" }, `${event.sequence || ""}`), when, el("span", { class: "step-name" }, event.type), el("code", { class: "step-about" }, text));
    return { item: el("li", {}, link), link };
  }
}
