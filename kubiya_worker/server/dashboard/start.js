// The dialog that starts an execution.

import { call, fresh } from "./api.js";
import { about, entities, entityOptions, queueOptions } from "./choices.js";
import { here } from "./place.js";
import { $, el } from "./text.js";

export class Start {
  // `refused()`: the key is not known any more.
  constructor({ refused }) {
    this.refused = refused;
    this.entities = [];
    this.idempotency = fresh();
    $("agent").addEventListener("change", () => this.about());
    $("start-close").addEventListener("click", () => this.close());
    $("start-form").addEventListener("input", () => (this.idempotency = fresh()));
    $("start-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.go();
    });
  }

  close() {
    $("start").close();
  }

  // `like`: an execution to run again.
  async open(like = null) {
    $("start-error").textContent = "";
    for (const id of ["agent", "queue"]) $(id).replaceChildren(); // no choice that what is asked for now would undo
    if (like) $("prompt").value = like.prompt;
    $("start").showModal();
    $("prompt").focus();
    try {
      const [found, queues] = await Promise.all([entities(), call("GET", "/worker-queues")]);
      this.entities = found;
      $("agent").replaceChildren(...entityOptions(found));
      $("queue").replaceChildren(el("option", { value: "" }, "Any with a live worker"), ...queueOptions(queues));
      if (like && found.some((entity) => entity.id === like.entity_id)) $("agent").value = like.entity_id;
    } catch (error) {
      $("start-error").textContent = error.message;
    }
    this.about();
  }

  chosen() {
    return this.entities.find((entity) => entity.id === $("agent").value);
  }

  about() {
    $("agent-about").textContent = about(this.chosen());
  }

  async go() {
    $("start-go").disabled = true;
    $("start-error").textContent = "";
    const on = here($("start"));
    try {
      const body = {
        prompt: $("prompt").value,
        worker_queue_id: $("queue").value || null,
        execution_metadata: $("interactive").checked ? { interactive: true } : {},
      };
      const path = `/${this.chosen().kind}s/${encodeURIComponent($("agent").value)}/execute`;
      const made = await call("POST", path, body, { "Idempotency-Key": this.idempotency });
      this.idempotency = fresh();
      $("prompt").value = "";
      on.go(`#/executions/${encodeURIComponent(made.execution_id)}`, "The execution was started.");
    } catch (error) {
      if (error.status === 401) this.refused();
      else on.failed(error, "The execution was not started", (message) => ($("start-error").textContent = message));
    }
    $("start-go").disabled = false;
  }
}
