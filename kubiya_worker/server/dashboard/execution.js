// One execution: what is known of it, its conversation as it happens, and what a person does about it.

import { call, fresh } from "./api.js";
import { dollars } from "./executions.js";
import { banner, notFound, nothing, say } from "./frame.js";
import { here } from "./place.js";
import { Follower } from "./stream.js";
import { $, FINAL, age, el, oneLine, statusText, took } from "./text.js";
import { Run } from "./run.js";
import { Timeline } from "./timeline.js";

const PATIENCE = 5000; // ms that an execution may wait for a worker before it is said how to start one

export class Execution {
  // `refused()`: the key is not known any more. `changed()`: the list is to be asked again. `again(row)`: run it again.
  constructor({ refused, changed, again }) {
    Object.assign(this, { refused, changed, row: null, chosen: null, frame: null });
    const drawn = () => ($("latest").hidden = this.timeline.atEnd());
    this.run = new Run();
    this.timeline = new Timeline($("timeline"), { answer, say, drawn });
    for (const [id, path] of [["pause", "pause"], ["resume", "resume"], ["finish", "mark-done"], ["cancel", "cancel"]]) {
      $(id).addEventListener("click", () => this.act($(id), path));
    }
    $("again").addEventListener("click", () => again(this.row));
    $("latest").addEventListener("click", () => this.timeline.toEnd());
    $("timeline").addEventListener("scroll", drawn, { passive: true });
    $("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
  }

  leave() {
    this.follower?.stop();
    Object.assign(this, { chosen: null, row: null, follower: null });
    this.timeline.clear(); // a long run is many megabytes
    this.run.clear();
    $("execution").hidden = true;
  }

  // Another part of the same execution is wanted, as the address says.
  look(words) {
    this.words = words;
    if (this.row) this.timeline.shown(!this.run.look(words));
  }

  async open(id, words) {
    this.chosen = id;
    this.words = words;
    nothing(el("p", {}, "Loading …"));
    let row;
    try {
      row = await call("GET", path(id));
    } catch (error) {
      if (this.chosen !== id) return;
      if (error.status === 401) return this.refused();
      return notFound(error.message, "#/", "All executions");
    }
    if (this.chosen !== id) return;
    this.row = row;
    this.timeline.clear();
    this.timeline.agent = row.entity_name;
    this.run.open(row);
    nothing();
    $("execution").hidden = false;
    this.look(this.words);
    $("title").textContent = oneLine(row.prompt, 300);
    $("say").value = "";
    const remedy = el("code", {}, `kubiya worker start --queue-id ${row.runner_name || row.worker_queue_id}`);
    $("waiting").replaceChildren(`No worker of the queue ${row.runner_name || ""} has begun with it. Is there one? `, remedy, " starts one.");
    document.title = `${oneLine(row.prompt, 60)} · Kubiya`;
    this.show();
    if (!this.run.chosen) $("detail").focus({ preventScroll: true });
    this.follow();
  }

  // Takes what comes behind the event number `last`.
  follow(last = 0) {
    const id = this.chosen;
    const mine = () => this.chosen === id;
    this.follower = new Follower(id, {
      onEvent: (type, data, at, sequence) => mine() && this.take(type, data, at, sequence),
      onState: (connected) => mine() && !connected && banner("The connection to the control plane is lost; the execution goes on. Connecting again"),
      onEnd: (refusal) => mine() && this.ended(refusal),
    }, last);
    this.over = false;
    this.follower.run();
  }

  // The list of executions was asked for again: one that was over may go on by now, as somebody else wrote to it.
  listed(rows) {
    const row = this.over && rows.find((each) => each.id === this.chosen);
    if (row && !FINAL.has(row.status)) this.follow(this.follower.last);
    this.show(); // its age
  }

  ended(refusal) {
    this.over = !refusal;
    if (refusal === "401") return this.refused();
    if (refusal === "404" || refusal === "410") this.timeline.line("error", `This execution was ${refusal === "410" ? "removed" : "deleted"}`);
    this.changed();
  }

  take(type, data, at, sequence) {
    const row = this.row;
    this.timeline.take(type, data, at);
    this.run.take(type, data, at, sequence);
    if (type === "run_started" || type === "metadata") {
      Object.assign(row, { model: data.model || row.model, label: data.model_label || row.label, began: true });
    }
    if (type === "status" || type === "done") row.status = String(data.status).toLowerCase();
    if (type === "status" && !FINAL.has(row.status)) row.completed_at = null;
    if (type === "status" && row.status === "pending") row.sequel = { at: at || new Date().toISOString() };
    if (type === "status") say(`Execution ${statusText(row.status)}`);
    if (type === "done") {
      const error = data.error || "";
      if (error && error !== row.told) this.timeline.line("error", error);
      Object.assign(row, { usage: data.usage || {}, completed_at: row.completed_at || new Date().toISOString() });
      this.updateTimes();
    }
    if (!type.startsWith("message") && !type.startsWith("thinking")) this.soon();
  }

  // Shown once a frame, however many events came.
  soon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.show();
    });
  }

  // The row knows when it began and ended better than this page's clock.
  async updateTimes() {
    const id = this.chosen;
    try {
      const row = await call("GET", path(id));
      if (this.chosen !== id) return;
      Object.assign(this.row, { started_at: row.started_at, completed_at: row.completed_at, usage: row.usage });
      this.show();
    } catch {
      // The list says already that nobody answers.
    }
  }

  show() {
    const row = this.row;
    if (!row) return;
    const final = FINAL.has(row.status);
    this.run.live = !final;
    const asks = !final && this.timeline.asks;
    $("status").textContent = asks ? "needs approval" : statusText(row.status);
    $("status").dataset.status = asks ? "approval" : row.status;
    const id = el("code", { class: "id", title: "Execution id" }, row.id);
    if (!$("facts").contains(document.activeElement)) $("facts").replaceChildren(...facts(row, final), id); // a link that has the focus stays
    $("waiting").hidden = row.status !== "pending" || Date.now() - Date.parse(row.sequel?.at || row.created_at) < PATIENCE;
    $("pause").hidden = !["running", "waiting_for_input"].includes(row.status);
    $("resume").hidden = row.status !== "paused";
    $("finish").hidden = row.status !== "waiting_for_input" || asks;
    $("cancel").hidden = final;
    $("again").hidden = !final;
    $("composer").hidden = final && row.execution_type === "dynamic"; // its agent is stored nowhere
    $("say").placeholder = final ? "Go on with the conversation" : `Message to the ${row.execution_type === "team" ? "team" : "agent"}`;
  }

  async act(button, what) {
    const on = here();
    const words = `Not done: ${button.textContent}`;
    button.disabled = true;
    try {
      const told = await call("POST", `${path(this.chosen)}/${what}`, {});
      if (told && told.success === false) on.failed({ message: told.error }, words, (message) => this.timeline.line("notice", message));
    } catch (error) {
      on.failed(error, words, (message) => this.timeline.line("error", message));
    }
    button.disabled = false;
  }

  async send() {
    const text = $("say").value;
    const id = this.chosen;
    const on = here();
    if (!text.trim()) return;
    try {
      await call("POST", `${path(id)}/message`, { message: text, message_id: `${id}_${fresh()}` });
      if (!on.still()) return;
      if ($("say").value === text) $("say").value = "";
      if (this.over) this.follow(this.follower.last);
      this.timeline.toEnd();
    } catch (error) {
      on.failed(error, "The message was not sent", (message) => this.timeline.line("error", message));
    }
  }
}

function path(id) {
  return `/executions/${encodeURIComponent(id)}`;
}

function facts(row, final) {
  const time = final && took(row);
  const tokens = row.usage?.total_tokens ?? (row.usage?.input_tokens || 0) + (row.usage?.output_tokens || 0);
  const cached = row.usage?.cache_read_tokens || 0;
  const saved = row.usage?.saved_usd || 0;
  const { job_id: job, fork_of: fork, retry_of: retry } = row.execution_metadata || {};
  const origin = (words, id, at) => el("a", { href: `#/executions/${encodeURIComponent(id)}${at ? "?tab=steps" : ""}` }, `${words} ${id.slice(0, 8)}`);
  const found = [
    row.entity_name,
    row.label || row.model,
    row.runner_name && `queue ${row.runner_name}`,
    job && el("a", { href: `#/jobs/${encodeURIComponent(job)}` }, `job ${row.execution_metadata.job_name || job}`),
    fork && origin("run again from a step of", fork, true),
    retry && origin("run again of", retry),
    age(row.created_at),
    time && `took ${time}`,
    dollars(row.usage?.cost_usd),
    tokens ? `${tokens.toLocaleString("en")} tokens${cached ? ` (${cached.toLocaleString("en")} cached)` : ""}` : "",
    saved > 0 ? `$${saved.toFixed(4)} saved by the cache` : "",
  ];
  return found.filter(Boolean).map((fact) => el("span", {}, fact));
}

async function answer(id, decision, reason, question) {
  const body = decision !== "approved" ? { reason: reason || null } : question ? { answer: reason } : { comment: reason || null };
  await call("POST", `/approvals/${encodeURIComponent(id)}/${decision === "approved" ? "approve" : "reject"}`, body);
}
