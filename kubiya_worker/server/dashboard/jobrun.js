// Starting a job by hand: at once, or with values for what its prompt leaves open.

import { call, fresh } from "./api.js";
import { here } from "./place.js";
import { $, el, oneLine } from "./text.js";

// As the control plane has it (server/template.py).
const HOLE = /\{\{\s*([A-Za-z_][\w-]*(?:\.[\w-]+)*)\s*\}\}/g;

export class JobRun {
  // `failed(error)`: a job without open values could not be started.
  constructor({ failed }) {
    Object.assign(this, { failed, job: null, key: fresh(), busy: false });
    $("run-close").addEventListener("click", () => $("run").close());
    $("run-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
  }

  async open(job) {
    Object.assign(this, { job, key: fresh() });
    const names = [...new Set([...job.prompt_template.matchAll(HOLE)].map((found) => found[1]))];
    if (!names.length) return this.start({}, null, this.failed);
    $("run-title").textContent = `Run “${oneLine(job.name, 80)}”`;
    $("run-error").textContent = "";
    $("run-values").replaceChildren(...names.flatMap((name, index) => [
      el("label", { for: `value-${index}` }, el("code", {}, name)),
      el("input", { id: `value-${index}`, name, required: true, autocomplete: "off" }),
    ]));
    $("run").showModal();
    $("value-0").focus();
  }

  async submit() {
    $("run-go").disabled = true;
    $("run-error").textContent = "";
    const values = Object.fromEntries([...$("run-values").querySelectorAll("input")].map((input) => [input.name, input.value]));
    await this.start(values, $("run"), (error) => ($("run-error").textContent = error.message));
    $("run-go").disabled = false;
  }

  // The same key while it is tried again: a press that was heard counts once.
  async start(parameters, dialog, failed) {
    const job = this.job;
    const on = here(dialog);
    this.busy = $("job-run").disabled = true;
    try {
      const made = await call("POST", `/jobs/${encodeURIComponent(job.id)}/trigger`, { parameters }, { "Idempotency-Key": this.key });
      on.go(`#/executions/${encodeURIComponent(made.execution_id)}`, `The job “${oneLine(job.name, 80)}” was started.`);
    } catch (error) {
      on.failed(error, `The job “${oneLine(job.name, 80)}” was not started`, () => failed(error));
    }
    this.busy = $("job-run").disabled = false;
  }
}
