// The parts of an execution's page beside its conversation: its steps over time, its events as they are, its files.

import { el, $ } from "./text.js";
import { say } from "./frame.js";
import { Fork, ROUTE, UNFINISHED, forkable } from "./fork.js";
import { RawEvents } from "./rawevents.js";
import { eventText, stepNodes, titleOf } from "./stepview.js";
import { may } from "./rights.js";
import { picturesOf } from "./picture.js";
import { RunFiles } from "./runfiles.js";
import { Steps } from "./steps.js";
import { Waterfall } from "./waterfall.js";

export const TABS = ["", "steps", "events", "files"];
const PANES = { "": "conversation", steps: "run-steps", events: "run-events", files: "run-files" };

export class Run {
  constructor() {
    Object.assign(this, { id: null, tab: "", chosen: null, frame: null, known: 0 });
    this.steps = new Steps();
    this.fork = new Fork();
    this.events = new RawEvents({ address: (sequence) => this.address("events", sequence) });
    this.files = new RunFiles($("run-files"));
    this.waterfall = new Waterfall({ address: (key) => this.address("steps", key) });
    $("run-steps").addEventListener("keydown", (event) => this.key(event));
    setInterval(() => this.live && this.tab === "steps" && this.soon(), 1000); // what runs grows
  }

  clear() {
    Object.assign(this, { id: null, chosen: null, live: false, told: null, known: 0 });
    this.steps.clear();
    this.events.clear();
    this.waterfall.clear();
    this.files.clear();
    picturesOf(null);
    for (const id of ["step-detail", "event-detail"]) $(id).replaceChildren();
  }

  open(row) {
    this.clear();
    Object.assign(this, { id: row.id, live: true });
    this.steps.begin(row.created_at);
    this.events.clear(row.id);
    this.files.clear(row.id);
    picturesOf(row.id);
  }

  address(tab, chosen) {
    const words = new URLSearchParams(tab ? { tab } : {});
    if (chosen !== undefined && chosen !== null) words.set("at", chosen);
    return `#/executions/${encodeURIComponent(this.id)}${words.size ? `?${words}` : ""}`;
  }

  take(type, data, timestamp, sequence) {
    this.events.add(type, data, timestamp, sequence);
    if (type === "status" || type === "done") this.files.soon();
    if (this.tab) this.soon();
  }

  // Steps are read out of the events when they are looked at: a long run's conversation does not wait for them.
  read() {
    const { list } = this.events;
    for (; this.known < list.length; this.known += 1) {
      const { type, data, timestamp, sequence } = list[this.known];
      this.steps.take(type, data, timestamp, sequence);
    }
  }

  soon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  // `words`: of the address. Returns the tab that is shown.
  look(words) {
    const given = new URLSearchParams(words || "");
    this.tab = TABS.includes(given.get("tab") || "") ? given.get("tab") || "" : "";
    this.chosen = ["steps", "events"].includes(this.tab) ? given.get("at") : null;
    this.told = null;
    for (const [tab, pane] of Object.entries(PANES)) $(pane).hidden = tab !== this.tab;
    for (const link of $("run-tabs").children) {
      const tab = link.dataset.tab;
      link.href = this.address(tab);
      if (tab === this.tab) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    for (const pane of ["run-steps", "run-events"]) $(pane).dataset.chosen = this.chosen === null ? "no" : "yes";
    this.files.look(this.tab === "files");
    this.draw();
    if (this.chosen !== null) $(this.tab === "steps" ? "step-detail" : "event-detail").focus({ preventScroll: true });
    return this.tab;
  }

  // `f` runs again from the step that has the focus, or else from the one that is shown.
  key(event) {
    if (event.key !== "f" || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const step = this.steps.byKey.get(this.waterfall.rows.focused() ?? this.chosen);
    if (!step || !forkable(step) || !may(ROUTE)) return;
    event.preventDefault();
    if (this.unfinished(step)) return say(UNFINISHED);
    this.fork.open(this.id, step);
  }

  unfinished(step) {
    return this.live && this.steps.unfinished(step);
  }

  draw() {
    if (!this.id || !this.tab || this.tab === "files") return;
    if (this.tab === "steps") this.read();
    if (this.tab === "steps") this.waterfall.show(this.steps, this.live, this.chosen);
    else this.events.show(this.chosen);
    this.detail();
  }

  // The chosen step or event; it is not made again while it is the same, so that what a person marks stays marked.
  detail() {
    const steps = this.tab === "steps";
    const thing = this.chosen === null ? null : steps ? this.steps.byKey.get(this.chosen) : this.events.bySequence.get(Number(this.chosen));
    const told = thing ? `${this.tab} ${this.chosen} ${steps ? `${thing.end} ${thing.state} ${thing.attempts.length} ${this.unfinished(thing)}` : ""}` : `${this.tab} ${this.chosen}`;
    if (told === this.told) return;
    this.told = told;
    const pane = $(steps ? "step-detail" : "event-detail");
    const back = el("a", { class: "detail-back", href: this.address(this.tab) }, el("span", { "aria-hidden": "true" }, "‹ "), steps ? "All steps" : "All events");
    if (this.chosen === null) pane.replaceChildren(el("p", { class: "help" }, steps ? "Choose a step to see what went in and what came out. Keys: j and k go through the steps, f runs again from one." : "Choose an event to see all of it."));
    else if (!thing) pane.replaceChildren(back, el("p", { class: "help" }, "It is not there (yet)."));
    else if (steps) pane.replaceChildren(back, el("h3", { class: "detail-title" }, titleOf(thing)), forkable(thing) ? this.fork.button(this.id, thing, this.unfinished(thing)) : "", ...stepNodes(thing, this.steps, (key) => this.address("steps", key), this.events.bySequence));
    else pane.replaceChildren(back, el("h3", { class: "detail-title" }, thing.type), eventText(thing));
    pane.scrollTop = 0;
  }
}
