// The steps of an execution, out of its events: model calls, tools, approvals, members, retries, waits, changes of the
// worker. Nothing here touches the document.

import { MEMBERS } from "./timeline.js";

const CLOSED = { success: "good", completed: "good", approved: "good", rejected: "bad", failed: "bad", denied: "bad", expired: "bad", unknown: "unknown" };
const WAITS = { waiting_for_input: "waits for a person", paused: "paused" };
export const KINDS = { model: "model", tool: "tool", approval: "approval", member: "member", person: "message", notice: "notice", wait: "wait", worker: "worker", error: "error" };

// A step: {key, kind, name, who, depth, run, start, first, end, state, …}; times in ms; `end` is null while it lasts.
export class Steps {
  constructor() {
    this.clear();
  }

  clear() {
    this.list = [];
    this.byKey = new Map();
    this.free = new Map(); // by run: since when only its model can be at work
    this.fresh = new Map(); // by run: keys of what its next model call gets as new
    this.workers = new Map(); // by run: who did its last step
    this.last = 0; // time of the last event
    this.turns = 0; // number of the event with which the last turn has ended
    this.waiting = null;
    this.tokens = this.cost = 0;
  }

  // `created`: when the execution was asked for, before any worker had it.
  begin(created) {
    const at = (this.created = Date.parse(created));
    if (!Number.isFinite(at)) return;
    this.waiting = this.add({ key: "queue", kind: "wait", name: "waits for a worker", start: at, end: null, state: "waits" });
    this.free.set("", at);
  }

  take(type, data, timestamp, sequence) {
    const at = data.shared ? this.created : Date.parse(data.timestamp || timestamp || "") || this.last;
    type = MEMBERS[type] || type;
    this.last = Math.max(this.last, at);
    const step = this.read(type, data, at);
    if (step && sequence) step.events.push(sequence);
    if (step && data.shared) step.words = "shared with the execution before";
    if (data.shared || type === "done" || (type === "status" && String(data.status).toLowerCase() === "waiting_for_input")) this.turns = Math.max(this.turns, sequence || 0);
  }

  // Whether its turn goes on: the control plane has of a conversation only the turns that have ended.
  unfinished(step) {
    return !(step.events[0] <= this.turns);
  }

  read(type, data, at) {
    const run = String(data.member_execution_id || "");
    if (type === "message_chunk" || type === "thinking_delta" || type === "thinking_start") return this.streamed(run, type, data, at);
    if (type === "message") return this.message(run, data, at);
    if (type === "reset_chunks") return this.again(data, at);
    if (type === "tool_started") return this.tool(run, data, at);
    if (type === "tool_completed") return this.toolEnded(run, data, at);
    if (type === "approval_requested") return this.asked(run, data, at);
    if (type === "approval_resolved") return this.resolved(data, at);
    if (type === "notice" || type === "gap_detected" || type === "degraded") return this.notice(run, data, at);
    if (type === "run_started") return this.started(run, at);
    if (type === "status") return this.status(String(data.status).toLowerCase(), at);
    if (type === "error") return this.add({ kind: "error", name: "error", start: at, end: at, state: "bad", output: String(data.details?.error_message || data.error || data.message || "") });
    if (type === "done") return this.done(data, at);
    return null;
  }

  add(given) {
    const step = { key: `s${this.list.length}`, who: "", depth: 0, run: "", first: null, events: [], attempts: [], inputs: [], tokens: 0, cost: 0, output: "", ...given };
    this.list.push(step);
    this.byKey.set(step.key, step);
    return step;
  }

  about(run, data) {
    const path = data.member_path || (data.member_name ? [data.member_name] : []);
    return { run, who: path.join(" → "), depth: path.length };
  }

  // What the next model call of this run reads, and since when that call may be at work.
  given(step, at) {
    this.free.set(step.run, at);
    if (!this.fresh.has(step.run)) this.fresh.set(step.run, []);
    this.fresh.get(step.run).push(step.key);
  }

  // -- model calls

  model(run, data, at) {
    const key = `m:${data.message_id}`;
    const found = this.byKey.get(key);
    if (found) return found;
    const start = Math.min(at, this.free.get(run) ?? at);
    return this.add({ key, kind: "model", name: "model", ...this.about(run, data), start, end: null, state: "running", thinking: "" });
  }

  streamed(run, type, data, at) {
    const step = this.model(run, data, at);
    if (step.end !== null) return step;
    step.first ??= at;
    if (type === "thinking_delta") step.thinking += String(data.thinking ?? "");
    if (type === "message_chunk") step.output += String(data.content ?? "");
    return step;
  }

  message(run, data, at) {
    const role = data.role || "assistant";
    const key = `m:${data.message_id}`;
    if (role === "tool" || this.byKey.get(key)?.said) return null;
    if (role !== "assistant" || data.made_by_team) {
      const name = role === "user" ? data.user_name || "a person" : role === "system" ? "control plane" : "team";
      const step = this.add({ key, kind: "person", name, ...this.about(run, data), start: at, end: at, state: "good", output: String(data.content ?? ""), said: true, role });
      this.given(step, at);
      return step;
    }
    const step = this.model(run, data, at);
    const [place, usage] = [data.step || {}, data.usage || {}];
    const tokens = usage.total_tokens || (usage.input_tokens || 0) + (usage.output_tokens || 0);
    Object.assign(step, { name: data.model_label || data.model || "model", said: true, end: at, state: data.cut ? "bad" : "good", words: data.cut ? `cut: ${data.cut}` : "" });
    Object.assign(step, { output: String(data.content ?? ""), calls: data.tool_calls || [], usage, tokens, cost: usage.cost_usd || 0, provider: data.model_provider, inputs: this.fresh.get(run) || [] });
    if (place.started_at && !step.attempts.length) step.start = Date.parse(place.started_at) || step.start;
    if (place.first_at) step.first = Date.parse(place.first_at) || step.first;
    this.fresh.set(run, []);
    this.free.set(run, at);
    this.tokens += tokens;
    this.cost += step.cost;
    this.by(step, place);
    return step;
  }

  again(data, at) {
    const step = this.byKey.get(`m:${data.message_id}`);
    if (!step || step.said) return step || null;
    step.attempts.push({ at, text: "the model was asked again" });
    Object.assign(step, { output: "", thinking: "", first: null });
    return step;
  }

  // -- tools and members

  tool(run, data, at) {
    const key = `t:${data.tool_execution_id}`;
    let step = this.byKey.get(key);
    if (step) {
      step.attempts.push({ at, text: "it was started again" });
    } else {
      const member = data.delegate;
      step = this.add({ key, kind: member ? "member" : "tool", name: String(member || data.tool_name), ...this.about(run, data), start: at, end: null, state: "running" });
      step.input = data.tool_arguments ?? data.tool_input ?? {};
    }
    step.enforcement = data.enforcement || step.enforcement;
    this.by(step, data.step || {});
    return step;
  }

  toolEnded(run, data, at) {
    const step = this.byKey.get(`t:${data.tool_execution_id}`) || this.tool(run, data, at);
    const outcome = String(data.outcome || data.status || data.tool_status || "").toLowerCase();
    const output = data.tool_output;
    Object.assign(step, { end: at, state: CLOSED[outcome] || "bad", words: outcome === "unknown" ? "outcome unknown" : outcome === "success" ? "" : outcome, error: data.tool_error || "" });
    Object.assign(step, { output: typeof output === "string" ? output : output ? JSON.stringify(output, null, 2) : "", result: data.tool_result, enforcement: data.enforcement || step.enforcement });
    if (Number.isFinite(data.duration_seconds) && data.duration_seconds > 0) step.worked = data.duration_seconds * 1000;
    this.given(step, at);
    return step;
  }

  // -- people

  asked(run, data, at) {
    const key = `a:${data.approval_id}`;
    if (this.byKey.has(key)) return this.byKey.get(key);
    const question = Boolean(data.enforcement?.question);
    const step = this.add({ key, kind: "approval", name: question ? "question" : String(data.tool_name), ...this.about(run, data), start: at, end: null, state: "waits" });
    return Object.assign(step, { input: data.tool_args ?? {}, enforcement: data.enforcement, reason: data.reason || "", risk: data.risk_level, of: `t:${data.tool_execution_id}` });
  }

  resolved(data, at) {
    const step = this.byKey.get(`a:${data.approval_id}`) || this.asked("", data, at);
    const by = data.approved_by_name || data.approved_by_email || "";
    Object.assign(step, { end: at, state: CLOSED[data.status] || "bad", words: [data.status, by && `by ${by}`].filter(Boolean).join(" "), output: String(data.rejection_reason || "") });
    this.free.set(step.run, at);
    return step;
  }

  // -- what happens beside

  notice(run, data, at) {
    const text = String(data.message || data.text || data.reason || "");
    const of = data.message_id ? this.byKey.get(`m:${data.message_id}`) : null;
    if (of && !of.said) of.attempts.push({ at, text });
    return this.add({ kind: "notice", name: String(data.kind || "notice").replaceAll("_", " "), ...this.about(run, data), start: at, end: at, state: "waits", output: text });
  }

  started(run, at) {
    this.free.set(run, at);
    return this.endWait(at);
  }

  endWait(at) {
    const step = this.waiting;
    if (!step) return null;
    Object.assign(step, { end: at, state: "good" });
    this.waiting = null;
    return step;
  }

  status(status, at) {
    if (status === "pending") return null;
    const ended = this.endWait(at);
    if (!WAITS[status]) {
      if (ended) this.free.set("", at);
      return ended;
    }
    this.waiting = this.add({ kind: "wait", name: WAITS[status], start: at, end: null, state: "waits" });
    return this.waiting;
  }

  // A step by another worker than the one before it in the same run: the change is a line of its own, before it.
  by(step, place) {
    if (!place.worker_id) return;
    const before = this.workers.get(step.run);
    Object.assign(step, { worker: place.worker_id, attempt: place.attempt || 1 });
    this.workers.set(step.run, place.worker_id);
    if (!before || before === place.worker_id) return;
    const change = this.add({ kind: "worker", name: "another worker", ...pick(step), start: step.start, end: step.start, state: "waits", output: `${before} → ${place.worker_id}` });
    this.list.pop();
    this.list.splice(this.list.lastIndexOf(step), 0, change);
  }

  done(data, at) {
    this.endWait(at);
    for (const step of this.list) if (step.end === null) Object.assign(step, { end: at, state: "unknown", words: "ended with the execution" });
    return data.error ? this.add({ kind: "error", name: String(data.status || "failed"), start: at, end: at, state: "bad", output: String(data.error) }) : null;
  }
}

function pick({ who, depth, run }) {
  return { who, depth, run };
}
