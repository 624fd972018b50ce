// The dialog that runs an execution again from a step on, as a new one with the same conversation up to it.

import { call, fresh } from "./api.js";
import { entities, entityOptions } from "./choices.js";
import { here } from "./place.js";
import { may, needs } from "./rights.js";
import { $, el } from "./text.js";

const KINDS = ["model", "tool", "member", "approval", "person"];
export const UNFINISHED = "This is possible when the turn has ended: then its messages are stored.";
export const ROUTE = "POST /executions/{execution}/fork";

// Whether a run can go on from before this step: what the control plane or the team itself said is no step of it.
export function forkable(step) {
  return KINDS.includes(step.kind) && step.events.length > 0 && (step.kind !== "person" || step.role === "user");
}

export class Fork {
  constructor() {
    Object.assign(this, { id: null, step: null, idempotency: "" });
    $("fork-close").addEventListener("click", () => $("fork").close());
    $("fork-form").addEventListener("input", () => (this.idempotency = fresh()));
    $("fork-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.go();
    });
    $("fork-prompt").addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      $("fork-form").requestSubmit();
    });
  }

  // `unfinished`: the step's turn goes on.
  button(id, step, unfinished) {
    const button = el("button", { type: "button", class: "quiet small", title: "Key: f", disabled: unfinished, onclick: () => this.open(id, step) }, "Run again from here");
    needs(button, ROUTE);
    return el("p", { class: "actions" }, button, unfinished && may(ROUTE) ? el("span", { class: "help" }, UNFINISHED) : null);
  }

  async open(id, step) {
    Object.assign(this, { id, step, idempotency: fresh() });
    $("fork-error").textContent = "";
    $("fork-prompt").value = step.kind === "person" ? step.output : "";
    $("fork-agent").replaceChildren(el("option", { value: "" }, "The same"));
    $("fork").showModal();
    $("fork-prompt").focus();
    try {
      const agents = (await entities()).filter((entity) => entity.kind === "agent");
      if (this.step === step) $("fork-agent").append(...entityOptions(agents));
    } catch (error) {
      $("fork-error").textContent = error.message;
    }
  }

  async go() {
    const { id, step } = this;
    const [prompt, agent] = [$("fork-prompt").value, $("fork-agent").value];
    $("fork-go").disabled = true;
    $("fork-error").textContent = "";
    const on = here($("fork"));
    try {
      const same = step.kind === "person" && prompt === step.output;
      const body = { at: step.events[0], ...(prompt.trim() && !same ? { prompt } : {}), ...(agent ? { agent } : {}) };
      const made = await call("POST", `/executions/${encodeURIComponent(id)}/fork`, body, { "Idempotency-Key": this.idempotency });
      on.go(`#/executions/${encodeURIComponent(made.execution_id)}`, "The fork was started.");
    } catch (error) {
      on.failed(error, "The fork was not started", (message) => ($("fork-error").textContent = message));
    }
    $("fork-go").disabled = false;
  }
}
