// The fleet: queues, and the truth of each worker: whether it polls, what it does, and why the last one ended.

import { call } from "./api.js";
import { clock } from "./clock.js";
import { notFound, nothing } from "./frame.js";
import { List, set } from "./list.js";
import { copyButton, output, size } from "./output.js";
import { $, age, duration, el, oneLine } from "./text.js";
import { Wishes } from "./wishes.js";

const EVERYTHING = "all"; // the id of the page of all queues

export class Queues extends List {
  make(queue) {
    const name = el("span", { class: "row-prompt" }, queue.name);
    const state = el("span", { class: "status" });
    const facts = el("span", { class: "row-facts" });
    const link = el("a", { href: `#/fleet/${encodeURIComponent(queue.id)}` }, name, el("span", { class: "row-line" }, state, facts));
    return { item: el("li", {}, link), link, state, facts };
  }

  update(row, queue) {
    const [polling, live] = [queue.workers.filter(polls).length, queue.workers.length];
    const drained = queue.workers.filter((each) => each.worker_metadata.state === "drained").length; // somebody wishes that
    const told = `${polling} of ${live} poll${drained ? `, ${drained} drained` : ""}`;
    const words = queue.status && queue.status !== "active" ? queue.status : live ? told : "nobody polls";
    set(row.state, words);
    row.state.dataset.status = live && polling === live ? "completed" : live && polling + drained < live ? "failed" : "pending";
    set(row.facts, queue.id === EVERYTHING ? "" : slotsOf(queue.workers));
  }
}

export class Fleet {
  // `refused()`: the key is not known any more.
  constructor({ refused, changed }) {
    Object.assign(this, { refused, chosen: null, queues: [], workers: null });
    this.list = new Queues($("fleet-rows"), $("no-fleet"));
    const wishes = new Wishes({ refused, changed });
    this.cards = new Workers($("fleet-body"), $("fleet-none"), wishes);
    this.gone = new Workers($("fleet-gone"), $("fleet-none-gone"), wishes);
  }

  clear() {
    for (const list of [this.list, this.cards, this.gone]) list.clear();
    Object.assign(this, { queues: [], workers: null });
  }

  leave() {
    this.chosen = null;
    $("fleet").hidden = true;
  }

  async open(id) {
    this.chosen = id;
    nothing(el("p", {}, "Loading …"));
    if (this.workers) this.show();
  }

  async refresh() {
    const [queues, workers] = await Promise.all([call("GET", "/worker-queues"), call("GET", "/workers?gone=true")]);
    this.workers = workers.map((each) => ({ ...each, live: !("disconnect" in each) }));
    const of = (id) => this.workers.filter((each) => each.live && each.queue_id === id);
    this.queues = queues.map((queue) => ({ ...queue, workers: of(queue.id) })).sort((a, b) => a.name.localeCompare(b.name));
    const all = { id: EVERYTHING, name: "All queues", workers: this.workers.filter((each) => each.live) };
    this.list.show(this.queues.length ? [all, ...this.queues] : [], this.chosen, "There is no queue. Make one under Definitions.");
    if (this.chosen) this.show();
  }

  show() {
    const all = this.chosen === EVERYTHING;
    const queue = this.queues.find((each) => each.id === this.chosen);
    if (!queue && !all) {
      $("fleet").hidden = true;
      return notFound("There is no such queue", "#/fleet", "All queues");
    }
    if ($("fleet").hidden) {
      nothing();
      $("fleet").hidden = false;
      $("detail").focus({ preventScroll: true });
    }
    document.title = `${all ? "Fleet" : queue.name} · Kubiya`;
    set($("fleet-title"), all ? "All queues" : queue.name);
    const mine = this.workers.filter((each) => all || each.queue_id === queue.id);
    const live = mine.filter((each) => each.live);
    set($("fleet-facts"), all ? [`${live.filter(polls).length} of ${live.length} workers poll`, slotsOf(live)].filter(Boolean).join(" · ") : [queue.status, queue.description, `at most ${queue.max_workers ?? "any number of"} workers`, slotsOf(live)].filter(Boolean).join(" · "));
    const names = new Map(this.queues.map((each) => [each.id, each.name]));
    const named = (list) => list.map((each) => ({ ...each, queue_name: all ? names.get(each.queue_id) || each.queue_id : "" }));
    this.cards.show(named(live), null, `No worker${all ? "" : " of this queue"} is alive. What was asked for waits.`);
    this.gone.show(named(mine.filter((each) => !each.live)), null, "None.");
    const command = `kubiya worker start --queue-id ${all ? "default" : queue.name}`;
    if (this.command !== command) {
      this.command = command;
      $("fleet-command").replaceChildren(el("code", {}, command), " ", copyButton(() => command, "the command"));
    }
  }
}

class Workers extends List {
  constructor(rows, none, wishes) {
    super(rows, none);
    this.wishes = wishes;
  }

  make(worker) {
    const title = el("h3", {}, hostOf(worker));
    const state = el("span", { class: "status" });
    const why = el("p", { class: "error" });
    const facts = el("dl", { class: "arguments" });
    const log = el("details", { class: "part" }, el("summary", {}, "Last lines of its log"));
    log.addEventListener("toggle", () => {
      if (log.open) log.replaceChildren(log.firstChild, output((log.lines || []).join("\n") || "It has sent none.", { label: "Log", name: "worker.log" }));
    });
    const found = el("ul", { class: "findings", "aria-label": "What is wrong with its host" });
    const wish = this.wishes.make(worker, hostOf(worker));
    const item = el("li", { class: "worker" }, el("div", { class: "about-line" }, title, state), why, wish.told, wish.actions, found, facts, log);
    return { item, link: title, state, why, wish, found, facts, log, shown: "", findings: "[]" };
  }

  update(row, worker) {
    const [word, status] = stateOf(worker);
    set(row.state, word);
    row.state.dataset.status = status;
    set(row.why, whyOf(worker));
    this.wishes.update(row.wish, worker);
    const findings = (worker.live && worker.worker_metadata.findings) || [];
    if (row.findings !== JSON.stringify(findings)) {
      row.findings = JSON.stringify(findings);
      row.found.replaceChildren(...findings.map(finding));
    }
    row.log.lines = worker.logs || [];
    row.log.hidden = !row.log.lines.length;
    const facts = factsOf(worker);
    const shown = JSON.stringify([facts.map(([name, value]) => [name, value?.textContent ?? value]), worker.id]);
    if (row.shown === shown || row.facts.contains(document.activeElement)) return; // what a person has marked stays
    row.shown = shown;
    row.facts.replaceChildren(...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  }
}

// A finding of the doctor: what is wrong, and what mends it.
function finding({ name, status, message, remedy }) {
  const word = el("span", { class: "status", "data-status": status === "fail" ? "failed" : "pending" }, status === "fail" ? "fails" : "warning");
  return el("li", {}, word, " ", el("strong", {}, name), `: ${message}`, remedy ? el("span", { class: "remedy" }, "Mend: ", el("code", {}, remedy)) : null);
}

function hostOf(worker) {
  return worker.worker_metadata.hostname || worker.system_info.hostname || worker.id;
}

// Other workers than ours do not say whether they poll: a heartbeat has to be enough.
export function polls(worker) {
  return worker.worker_metadata.polling !== false && !worker.worker_metadata.event_loop_blocked;
}

function slotsOf(workers) {
  const slots = workers.reduce((sum, each) => sum + (each.worker_metadata.slots || 0), 0);
  const active = workers.reduce((sum, each) => sum + (each.worker_metadata.active_tasks || 0), 0);
  return slots ? `${active} of ${slots} slots taken` : active ? `${active} steps run` : "";
}

// [words, look]
function stateOf({ live, disconnect, worker_metadata: told }) {
  if (!live) return disconnect ? ["left", disconnect.exit_code ? "failed" : ""] : ["silent", "failed"];
  if (told.event_loop_blocked) return ["blocked", "failed"];
  if (told.must_restart) return ["must restart", "failed"];
  if (told.stuck) return ["alive, does not poll", "failed"];
  if (told.state === "drained") return ["drained", "paused"];
  if (told.polling === false) return told.state === "draining" ? ["draining", "pending"] : ["alive, does not poll", "pending"];
  return ["polls", "completed"];
}

function whyOf({ live, disconnect, last_heartbeat: last, worker_metadata: told }) {
  if (!live && !disconnect) return `Its last word came ${age(last)}: it was killed, or its host or its network is gone.`;
  if (!live) return [disconnect.error_message, disconnect.exit_code && `exit code ${disconnect.exit_code}`].filter(Boolean).join(" · ");
  if (told.must_restart) return told.must_restart;
  if (told.event_loop_blocked) return `Its event loop has been silent for ${duration(told.event_loop_silent)}: no step goes on.`;
  if (told.stuck) return "Temporal answers, and does not see this worker poll: it is restarted where a supervisor watches it.";
  return "";
}

function factsOf(worker) {
  const told = worker.worker_metadata;
  const system = worker.system_info;
  const counts = Object.entries(told.restarts || {}).map(([kind, count]) => `${kind}: ${count}`);
  const death = told.last_death;
  const died = death && [death.why || death.class, death.code !== null && death.code !== undefined && `code ${death.code}`, death.signal && `signal ${death.signal}`].filter(Boolean).join(", ");
  return [
    ["Queue", worker.queue_name],
    ["Left because", worker.disconnect?.reason],
    ["Slots", worker.live && (told.slots ? `${told.active_tasks || 0} of ${told.slots} taken` : told.active_tasks ? `${told.active_tasks} taken` : "")],
    ["Steps", `${(told.completed_tasks ?? worker.tasks_processed).toLocaleString("en")} done${told.failed_tasks ? `, ${told.failed_tasks.toLocaleString("en")} failed` : ""}`],
    ["Last pickup", told.last_pickup_at ? clock(told.last_pickup_at) : worker.live ? "none yet" : ""],
    ["Works on", worker.live && taskNode(worker.current_task_id)],
    ["Last word", clock(worker.last_heartbeat)],
    ["Since", clock(worker.registered_at)],
    ["Restarts", told.restarts ? counts.join(", ") : ""],
    ["Last death", died && el("span", {}, died, death.at ? " · " : "", death.at ? clock(death.at) : "")],
    ["Version", [system.cli_version, told.build_id && `build ${told.build_id}`, told.deployment && `of ${told.deployment}`].filter(Boolean).join(" ")],
    ["Host", [system.os_name, system.os_version, system.python_version && `Python ${system.python_version}`].filter(Boolean).join(" · ")],
    ["Takes", worker.live && [told.memory_bytes && size(told.memory_bytes).replace("characters", "bytes"), Number.isFinite(told.cpu_percent) && `${Math.round(told.cpu_percent)} % of a core`].filter(Boolean).join(" · ")],
    ["Event loop", worker.live && told.event_loop_lag > 0.2 ? `${duration(told.event_loop_lag)} late` : ""],
    ["Confinement", told.confinement],
    ["Process", system.pid && String(system.pid)],
    ["Id", el("code", { class: "id" }, worker.id)],
  ].filter(([, value]) => value);
}

// "agent-execution-ID/call_tool" leads to the execution.
function taskNode(task) {
  if (!task) return "";
  const found = /^(?:agent|team)-execution-([^/]+)\/(.*)$/.exec(task);
  return found ? el("a", { href: `#/executions/${encodeURIComponent(found[1])}?tab=steps` }, found[2]) : oneLine(task, 100);
}
