// The dialog that makes a job, or changes one. What the control plane refuses is said beside the form.

import { call } from "./api.js";
import { about, entities, entityOptions, queueOptions } from "./choices.js";
import { catchUpOptions, overlapOptions } from "./jobtimes.js";
import { here } from "./place.js";
import { words } from "./schedule.js";
import { $, el } from "./text.js";

// The control plane's fields, as this form has and calls them.
const FIELDS = {
  name: ["job-title", "Name"],
  entity_id: ["job-entity", "Agent or team"],
  prompt_template: ["job-prompt", "Task"],
  trigger_type: ["job-trigger", "Starts"],
  cron_schedule: ["job-cron", "Schedule"],
  cron_timezone: ["job-zone", "Time zone"],
  overlap_policy: ["job-overlap", "While an execution is still going"],
  catch_up_seconds: ["job-catch-up", "Start missed executions"],
  worker_queue_name: ["job-queue", "Worker queue"],
};
const AS_IT_IS = "as it is"; // a choice that only the API offers

export class JobForm {
  // `refused()`: the key is not known any more. `saved(job, secret, on)`: of a webhook that was just made; where.
  constructor({ refused, saved }) {
    Object.assign(this, { refused, saved, job: null, entities: [], queues: [] });
    $("job-close").addEventListener("click", () => $("job-dialog").close());
    $("job-entity").addEventListener("change", () => this.show());
    $("job-trigger").addEventListener("change", () => this.show());
    $("job-cron").addEventListener("input", () => this.show());
    $("job-form").addEventListener("input", (event) => event.target.removeAttribute("aria-invalid"));
    $("job-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.save();
    });
  }

  // Without a job: a new one.
  async open(job = null) {
    this.job = job;
    this.fillZones();
    this.fail("");
    $("job-form-title").textContent = job ? "Edit job" : "New job";
    $("job-save").textContent = job ? "Save" : "Create";
    $("job-title").value = job?.name || "";
    $("job-prompt").value = job?.prompt_template || "";
    $("job-trigger").value = job?.trigger_type || "cron";
    $("job-cron").value = job?.cron_schedule || "";
    $("job-zone").value = job?.cron_timezone || Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
    $("job-overlap").replaceChildren(...overlapOptions());
    $("job-overlap").value = job?.overlap_policy || "allow_all";
    $("job-catch-up").replaceChildren(...catchUpOptions(job?.catch_up_seconds || 60));
    $("job-catch-up").value = job?.catch_up_seconds || 60;
    for (const id of ["job-entity", "job-queue"]) $(id).replaceChildren(); // no choice that what is asked for now would undo
    this.entities = [];
    this.show();
    $("job-dialog").showModal();
    $("job-title").focus();
    try {
      [this.entities, this.queues] = await Promise.all([entities(), call("GET", "/worker-queues")]);
      $("job-entity").replaceChildren(...entityOptions(this.entities));
      if (job) $("job-entity").value = job.entity_id;
      this.showQueues();
    } catch (error) {
      this.failed(error);
    }
    this.show();
  }

  // Several hundred nodes, which are made when they are needed first.
  fillZones() {
    if ($("zones").hasChildNodes()) return;
    const zones = Intl.supportedValuesOf ? Intl.supportedValuesOf("timeZone") : [];
    $("zones").append(...["UTC", ...zones].map((zone) => el("option", { value: zone })));
  }

  showQueues() {
    const job = this.job;
    const options = [el("option", { value: "" }, "Any with a live worker"), ...queueOptions(this.queues)];
    let chosen = "";
    if (job?.executor_type === "environment") {
      options.push(el("option", { value: AS_IT_IS }, `Any of the environment ${job.environment_name}`));
      chosen = AS_IT_IS;
    } else if (job?.executor_type === "specific_queue") {
      chosen = this.queues.find((queue) => [queue.id, queue.name].includes(job.worker_queue_name))?.id;
      if (!options.some((option) => option.value === chosen)) {
        options.push(el("option", { value: AS_IT_IS }, `${job.worker_queue_name} (not active)`));
        chosen = AS_IT_IS;
      }
    }
    $("job-queue").replaceChildren(...options);
    $("job-queue").value = chosen;
  }

  entity() {
    return this.entities.find((entity) => entity.id === $("job-entity").value);
  }

  show() {
    const cron = $("job-trigger").value === "cron";
    $("job-times").hidden = !cron;
    for (const id of ["job-cron", "job-zone"]) $(id).required = cron;
    const told = words($("job-cron").value);
    $("job-words").textContent = told ? `Starts ${told}.` : "Minute, hour, day of month, month, day of week; or @hourly, @daily, @weekly, @monthly, @yearly.";
    const known = this.job?.trigger_type === "webhook";
    $("job-hook").hidden = $("job-trigger").value !== "webhook" || known;
    $("job-about").textContent = about(this.entity());
  }

  body() {
    const entity = this.entity();
    const queue = this.queues.find((each) => each.id === $("job-queue").value);
    const unique = queue && this.queues.filter((each) => each.name === queue.name).length === 1;
    return {
      name: $("job-title").value.trim(),
      prompt_template: $("job-prompt").value,
      trigger_type: $("job-trigger").value,
      entity_type: entity?.kind,
      planning_mode: entity && `predefined_${entity.kind}`,
      entity_id: entity?.id,
      ...($("job-trigger").value === "cron" ? this.times() : {}),
      ...(queue ? { executor_type: "specific_queue", worker_queue_name: unique ? queue.name : queue.id } : {}),
      ...($("job-queue").value ? {} : { executor_type: "auto" }),
    };
  }

  times() {
    return {
      cron_schedule: $("job-cron").value.trim(),
      cron_timezone: $("job-zone").value.trim(),
      overlap_policy: $("job-overlap").value,
      catch_up_seconds: Number($("job-catch-up").value),
    };
  }

  async save() {
    this.fail("");
    $("job-save").disabled = true;
    const on = here($("job-dialog"));
    try {
      const [method, path] = this.job ? ["PATCH", `/jobs/${encodeURIComponent(this.job.id)}`] : ["POST", "/jobs"];
      const made = await call(method, path, this.body());
      this.saved(made, made.webhook_secret, on);
    } catch (error) {
      on.failed(error, "The job was not saved", () => this.failed(error));
    }
    $("job-save").disabled = false;
  }

  failed(error) {
    if (error.status === 401) return this.refused();
    const known = (error.problems || []).filter(({ field }) => FIELDS[field]);
    const [first] = known;
    this.fail(first ? known.map(({ field, message }) => `${FIELDS[field][1]}: ${message}`).join("; ") : error.message);
    for (const { field } of known) $(FIELDS[field][0]).setAttribute("aria-invalid", "true");
    if (first) $(FIELDS[first.field][0]).focus();
  }

  fail(message) {
    $("job-failure").textContent = message;
    if (!message) for (const [id] of Object.values(FIELDS)) $(id).removeAttribute("aria-invalid");
  }
}
