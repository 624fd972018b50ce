// What came to a hook, or was told by a notification: each with its outcome; its address, and a test of it.

import { call } from "./api.js";
import { clock } from "./clock.js";
import { refocus, say } from "./frame.js";
import { copyButton, output } from "./output.js";
import { needs } from "./rights.js";
import { el, oneLine } from "./text.js";

export const KINDS = ["Hook", "Notification"]; // of definitions that have deliveries
const SHOWN = 50;
// The look of an outcome; what is not named here has none.
const LOOKS = { started: "completed", told: "completed", sent: "completed", refused: "failed", malformed: "failed", failed: "failed", dead: "failed", waiting: "pending", held: "pending", "cooling-down": "pending" };

export class Deliveries {
  // `place`: what they are shown in. `failed(error)`.
  constructor(place, { failed }) {
    Object.assign(this, { place, failed });
  }

  // `current()`: whether this is still what a person looks at.
  async show(kind, name, current) {
    Object.assign(this, { kind, name, current });
    this.place.replaceChildren(el("p", { class: "help" }, "Loading …"));
    await this.load();
  }

  get path() {
    return `/${this.kind.toLowerCase()}s/${encodeURIComponent(this.name)}`;
  }

  async load(told = null) {
    const hook = this.kind === "Hook";
    const [about, deliveries] = await Promise.all([call("GET", this.path), call("GET", `${this.path}/deliveries?limit=${SHOWN}`)]);
    if (!this.current()) return;
    const dead = deliveries.some(({ state }) => state === "dead");
    this.told = el("div", { class: "test-outcome", role: "status" }, ...(told ? [told] : []));
    this.buttons = hook
      ? [this.button("Test with a sample", "POST /hooks/{hook}/test", () => this.test({})), this.button("Start an execution with a sample", "POST /hooks/{hook}/test", () => this.test({ start: true }))]
      : [this.button("Send a test", "POST /notifications/{notification}/test", () => this.test({})), ...(dead ? [this.button("Try the dead ones again", "POST /notifications/{notification}/retry", () => this.retry())] : [])];
    this.place.replaceChildren(
      ...(hook ? [el("p", { class: "command" }, el("span", { class: "help" }, "Senders post to "), el("code", {}, about.url), copyButton(() => about.url, "the address"))] : []),
      el("div", { class: "actions" }, ...this.buttons),
      this.told,
      el("h3", {}, hook ? "Last deliveries" : "Last messages"),
      deliveries.length ? el("ul", { class: "deliveries" }, ...deliveries.map(hook ? hookRow : messageRow)) : el("p", { class: "help" }, hook ? "Nothing has come yet." : "Nothing was told yet."),
    );
  }

  button(words, route, press) {
    const button = el("button", { type: "button", class: "quiet" }, words);
    needs(button, route);
    button.addEventListener("click", async () => {
      const { current } = this;
      const place = this.buttons.indexOf(button);
      for (const each of this.buttons) each.disabled = true;
      try {
        await press();
      } catch (error) {
        if (error.status === 401) this.failed(error);
        else if (current()) this.told.replaceChildren(el("p", { class: "error", role: "alert" }, error.message));
      }
      for (const each of this.buttons) each.disabled = false;
      if (current()) refocus(this.buttons[Math.min(place, this.buttons.length - 1)]);
    });
    return button;
  }

  async test(body) {
    const hook = this.kind === "Hook";
    const found = await call("POST", `${this.path}/test`, body);
    const outcome = hook ? hookOutcome(found, body.start) : messageOutcome(found);
    say(outcome.firstChild.textContent);
    if (hook && !body.start) this.told.replaceChildren(outcome);
    else await this.load(outcome);
  }

  async retry() {
    const { retried } = await call("POST", `${this.path}/retry`);
    const words = retried === 1 ? "One is tried again." : `${retried} are tried again.`;
    say(words);
    await this.load(el("p", {}, words));
  }
}

function hookOutcome(found, started) {
  const run = found.execution_id && el("a", { href: `#/executions/${encodeURIComponent(found.execution_id)}` }, "Its execution");
  const words = `${started ? "" : "Nothing is started. A delivery like the sample would be: "}${found.verdict}${found.reason ? ` (${found.reason})` : ""}.`;
  return el("div", {}, el("p", {}, words, run ? " " : null, run || null), found.prompt ? output(found.prompt, { label: "Prompt of the execution", name: "prompt.txt" }) : null);
}

function messageOutcome({ state, error, attempts }) {
  const words = state === "sent" ? "The channel took it." : `It is ${state}${attempts ? ` after ${attempts === 1 ? "one try" : `${attempts} tries`}` : ""}.`;
  return el("div", {}, el("p", {}, words), error ? el("p", { class: "error" }, error) : null);
}

function outcome(word) {
  return el("span", { class: "status", "data-status": LOOKS[word] || null }, word);
}

function hookRow({ verdict, taken_at: at, reason, address, execution_id: run, alert, body, reply }) {
  const title = alert?.title || alert?.thing || "";
  const details = body ? el("details", { class: "part" }, el("summary", {}, "What came")) : null;
  details?.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(output(body, { label: "What came", name: "delivery.json" }));
  });
  return el("li", {},
    el("span", { class: "row-line" }, outcome(verdict), clock(at)),
    title ? el("span", { class: "delivery-title" }, oneLine(title, 200)) : null,
    reason ? el("span", { class: "help" }, reason) : null,
    el("span", { class: "help" }, ...joined([address && `from ${address}`, run && el("a", { href: `#/executions/${encodeURIComponent(run)}` }, "its execution"), reply && `answer: ${reply.state}${reply.error ? ` (${reply.error})` : ""}`])),
    details);
}

// The parts that are there, with dots between them.
function joined(parts) {
  return parts.filter(Boolean).flatMap((part, place) => (place ? [" · ", part] : [part]));
}

function messageRow({ state, created_at: at, event, title, attempts, error }) {
  return el("li", {},
    el("span", { class: "row-line" }, outcome(state), clock(at)),
    el("span", { class: "delivery-title" }, oneLine(title, 200)),
    el("span", { class: "help" }, [event.replaceAll("_", " "), attempts > 1 && `${attempts} tries`].filter(Boolean).join(" · ")),
    error ? el("span", { class: "error" }, error) : null);
}
