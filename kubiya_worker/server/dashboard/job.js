// One job: what it does and when, its runs, and what a person does about it.

import { call } from "./api.js";
import { notFound, nothing, refocus, say } from "./frame.js";
import { JobRun } from "./jobrun.js";
import { List, set, setStatus } from "./list.js";
import { here } from "./place.js";
import { timeFacts, timeLists } from "./jobtimes.js";
import { moment, startText, until } from "./schedule.js";
import { $, age, el, oneLine, took } from "./text.js";

const PAGE = 20;
const TRIGGERS = { cron: "by its schedule", webhook: "by its webhook", manual: "by hand" };

export class Job {
  // `refused()`: the key is not known any more. `changed()`: the list is to be asked again. `edit(job)`: open the form.
  constructor({ refused, changed, edit }) {
    Object.assign(this, { refused, changed, job: null, chosen: null, limit: PAGE, shown: "", secrets: new Map() });
    this.runs = new Runs($("runs"), $("no-runs"));
    this.run = new JobRun({ failed: (error) => this.failed(error) });
    $("job-run").addEventListener("click", () => this.run.open(this.job));
    $("job-edit").addEventListener("click", () => edit(this.job));
    $("job-switch").addEventListener("click", () => this.toggle());
    $("job-delete").addEventListener("click", () => this.ask());
    $("delete-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.remove();
    });
    $("delete-close").addEventListener("click", () => $("delete").close());
    $("more-runs").addEventListener("click", () => {
      this.limit = 500;
      this.changed();
    });
  }

  // The secret of a webhook that was just made, until the page is left.
  keep(id, secret) {
    if (secret) this.secrets.set(id, secret);
  }

  forget() {
    this.secrets.clear();
  }

  leave() {
    Object.assign(this, { chosen: null, job: null, limit: PAGE });
    this.runs.clear();
    this.shown = "";
    for (const id of ["job-facts", "job-moments"]) $(id).replaceChildren();
    $("job").hidden = true;
  }

  async open(id) {
    this.chosen = id;
    nothing(el("p", {}, "Loading …"));
    try {
      await this.look(id);
    } catch (error) {
      if (this.chosen !== id) return;
      if (error.status === 401) return this.refused();
      return notFound(error.message, "#/jobs", "All jobs");
    }
    if (this.chosen !== id) return;
    nothing();
    this.tell("");
    $("job").hidden = false;
    $("job-body").scrollTop = 0;
    $("detail").focus({ preventScroll: true });
  }

  // Throws what the list's own questions throw: it is said there.
  async refresh() {
    const id = this.chosen;
    if (!this.job) return;
    try {
      await this.look(id);
    } catch (error) {
      if (error.status !== 404) throw error;
      if (this.chosen !== id) return;
      this.leave();
      this.chosen = id;
      notFound("This job was deleted", "#/jobs", "All jobs");
    }
  }

  async look(id) {
    const asked = [path(id), `${path(id)}/executions?limit=${this.limit + 1}`, "/approvals/pending"];
    const [job, runs, pending] = await Promise.all(asked.map((each) => call("GET", each)));
    if (this.chosen !== id) return;
    this.job = job;
    if (this.lost) this.tell("");
    this.show();
    const shown = runs.slice(0, this.limit).map((run) => ({ ...run, id: run.execution_id }));
    this.runs.show(shown, null, "It has no executions yet.", new Set(pending.map((approval) => approval.execution_id)));
    $("more-runs").hidden = runs.length <= this.limit || this.limit > PAGE;
  }

  show() {
    const job = this.job;
    document.title = `${oneLine(job.name, 60)} · Kubiya`;
    set($("job-name"), oneLine(job.name, 300));
    set($("job-status"), job.enabled ? "enabled" : "disabled");
    $("job-status").dataset.status = job.enabled ? "enabled" : "disabled";
    set($("job-switch"), job.enabled ? "Disable" : "Enable");
    $("job-run").disabled = !job.enabled || this.run.busy;
    $("job-run").title = job.enabled ? "" : "A disabled job is started by nothing: enable it first";
    set($("job-error"), job.broken ? `This job is broken: ${job.broken}` : job.error_message || "");
    set($("job-prompt-text"), job.prompt_template || "");
    const shown = this.facts(job);
    const all = JSON.stringify([shown, job.next_executions, job.firings]);
    if (this.shown === all) return; // what a person has marked stays marked
    this.shown = all;
    $("job-moments").replaceChildren(...timeLists(job));
    $("job-facts").replaceChildren(...shown.flatMap(([name, ...parts]) => [el("dt", {}, name), el("dd", {}, ...parts.map(part))]));
  }

  // [name, part …]; a part is a text, or {code}.
  facts(job) {
    const next = job.next_execution_at;
    const secret = this.secrets.get(job.id);
    const entity = job.entity_name || `${job.entity_id} (deleted)`;
    return [
      job.description ? ["About", job.description] : null,
      ["Starts", startText(job), ...(job.trigger_type === "cron" ? [{ code: job.cron_schedule }] : [])],
      job.trigger_type === "cron" ? ["Next execution", next ? `${moment(next)} (${until(next)})` : job.enabled ? "unknown: Temporal does not say" : "none while it is disabled"] : null,
      ...timeFacts(job),
      [job.entity_type === "team" ? "Team" : "Agent", entity],
      ["Queue", queueText(job)],
      job.webhook_url ? ["Webhook", { code: job.webhook_url }] : null,
      secret ? ["Secret", { code: secret }, "Copy it now: it is not shown again."] : null,
      ["Executions", tally(job)],
      ["Id", { code: job.id }],
    ].filter(Boolean);
  }

  failed(error) {
    if (error.status === 401) return this.refused();
    this.tell(error.message, error.status === 0);
  }

  // What went wrong; `lost`: nobody answered, which is over as soon as somebody does.
  tell(message, lost = false) {
    this.lost = lost;
    $("job-told").textContent = message;
  }

  async toggle() {
    const word = this.job.enabled ? "disable" : "enable";
    const on = here();
    $("job-switch").disabled = true;
    this.tell("");
    try {
      await call("POST", `${path(this.job.id)}/${word}`);
      say(`Job ${word}d`);
      this.changed();
    } catch (error) {
      on.failed(error, `The job was not ${word}d`, () => this.failed(error));
    }
    $("job-switch").disabled = false;
    if (on.still()) refocus($("job-switch"));
  }

  ask() {
    const runs = this.job.total_executions;
    $("delete-title").textContent = `Delete “${oneLine(this.job.name, 80)}”?`;
    $("delete-text").textContent = `Nothing starts it any more.${runs ? " Its executions stay, and one that runs goes on." : ""}`;
    $("delete-error").textContent = "";
    $("delete").showModal();
  }

  async remove() {
    $("delete-go").disabled = true;
    const on = here($("delete"));
    try {
      await call("DELETE", path(this.job.id));
      say("Job deleted");
      on.go("#/jobs", "The job was deleted.");
    } catch (error) {
      if (error.status === 401) this.refused();
      else on.failed(error, "The job was not deleted", (message) => ($("delete-error").textContent = message));
    }
    $("delete-go").disabled = false;
  }
}

class Runs extends List {
  make(run) {
    const status = el("span", { class: "status" });
    const facts = el("span", { class: "row-facts" });
    const error = el("span", { class: "row-error" });
    const link = el("a", { href: `#/executions/${encodeURIComponent(run.id)}` }, el("span", { class: "row-line" }, status, facts), error);
    return { item: el("li", {}, link), link, status, facts, error };
  }

  update(row, run) {
    const time = took(run);
    setStatus(row.status, run.status, this.waiting.has(run.id));
    set(row.facts, [age(run.created_at), TRIGGERS[run.trigger_type], time && `took ${time}`].filter(Boolean).join(" · "));
    row.link.title = moment(run.created_at);
    set(row.error, oneLine(run.error_message, 200));
  }
}

function path(id) {
  return `/jobs/${encodeURIComponent(id)}`;
}

function part(given) {
  return typeof given === "string" ? el("span", {}, given) : el("code", {}, given.code);
}

function queueText(job) {
  if (job.executor_type === "specific_queue") return job.worker_queue_name;
  if (job.executor_type === "environment") return `any of the environment ${job.environment_name}`;
  return "any with a live worker";
}

function tally(job) {
  const counts = [[job.successful_executions, "completed"], [job.failed_executions, "failed or cancelled"]];
  const told = counts.filter(([count]) => count).map(([count, word]) => `${count} ${word}`);
  return [job.total_executions, ...told].join(" · ");
}
