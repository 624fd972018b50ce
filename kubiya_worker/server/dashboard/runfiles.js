// The files that a run has made: to download, and pictures to see. Their names are text of strangers, like all else here.

import { call } from "./api.js";
import { clock } from "./clock.js";
import { fileAddress } from "./picture.js";
import { el } from "./text.js";

const LATER = [400, 2000, 6000]; // ms after a turn: the worker stores its files beside the end of the turn

export class RunFiles {
  constructor(root) {
    Object.assign(this, { root, id: null, shown: false, told: "" });
  }

  clear(id = null) {
    Object.assign(this, { id, shown: false, told: "" });
    this.root.replaceChildren();
  }

  // The pane is looked at, or not any more.
  look(shown) {
    const begins = shown && !this.shown;
    this.shown = shown;
    if (begins) this.load();
  }

  // Something has ended, so there may be more.
  soon() {
    for (const wait of LATER) setTimeout(() => this.shown && this.load(), wait);
  }

  async load() {
    const id = this.id;
    let files;
    try {
      files = await call("GET", `/executions/${encodeURIComponent(id)}/files`);
    } catch (error) {
      if (this.id === id && !this.told) this.root.replaceChildren(el("p", { class: "help", role: "alert" }, error.message));
      return;
    }
    const told = JSON.stringify(files);
    if (this.id !== id || told === this.told) return; // what a person marks stays marked
    this.told = told;
    this.root.replaceChildren(...(files.length ? [this.table(files)] : [el("p", { class: "help" }, "This execution has made no files, or none that were stored. They are stored at the end of each turn.")]));
  }

  table(files) {
    const heads = ["File", "Size", "Stored"].map((head) => el("th", { scope: "col" }, head));
    const rows = files.map((file) => el("tr", {}, el("th", { scope: "row" }, ...this.name(file)), el("td", { class: "number" }, size(file.size)), el("td", {}, file.refused ? `not stored: ${file.refused}` : clock(new Date(file.stored_at * 1000).toISOString()))));
    return el("table", { class: "run-files" }, el("caption", { class: "help" }, `${files.length.toLocaleString("en")} ${files.length === 1 ? "file" : "files"}`), el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows));
  }

  name(file) {
    const shown = file.path.replaceAll("\n", "⏎");
    if (file.refused) return [el("span", {}, shown)];
    const address = fileAddress(this.id, file.path);
    if (!file.type.startsWith("image/")) return [el("a", { href: address, download: file.path.split("/").at(-1) }, shown)];
    const picture = el("img", { class: "thumb", src: address, alt: "", loading: "lazy", decoding: "async" });
    return [el("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, picture, shown)];
  }
}

function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  for (const [unit, most] of [["kB", 1e6], ["MB", 1e9]]) if (bytes < most) return `${(bytes / (most / 1000)).toFixed(1)} ${unit}`;
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
