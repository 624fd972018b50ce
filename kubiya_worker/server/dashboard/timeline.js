// One execution's conversation, out of its events: text as it streams, tools, questions to a person, notices.

import { argumentList, duration, el, oneLine, prose, summary } from "./text.js";

const WHO = { user: "You", assistant: "Agent", system: "Control plane" };
const OUTCOMES = { denied: "denied", expired: "expired", unknown: "outcome unknown" };

export class Timeline {
  // `answer(approvalId, decision, reason)` sends a person's answer; `say(text)` is read out by screen readers.
  constructor(root, { answer, say }) {
    Object.assign(this, { root, answer, say });
    this.clear();
  }

  clear() {
    this.root.replaceChildren();
    this.messages = new Map(); // message id -> {element, body, text, complete}
    this.tools = new Map();
    this.approvals = new Map();
    this.dirty = new Set();
    this.agent = "";
  }

  take(type, data) {
    const id = String(data.message_id ?? "");
    if (type === "message") this.message(id, data);
    else if (type === "message_chunk") this.chunk(id, data);
    else if (type === "reset_chunks") this.reset(id);
    else if (type === "thinking_delta") this.thinking(id, data);
    else if (type === "tool_started") this.toolStarted(data);
    else if (type === "tool_completed") this.toolCompleted(data);
    else if (type === "approval_requested") this.asked(data);
    else if (type === "approval_resolved") this.resolved(data);
    else if (type === "notice") this.line("notice", data.message || data.text);
    else if (type === "error") this.line("error", data.details?.error_message || data.error || data.message || "Unknown error");
    else if (type === "gap_detected" || type === "degraded") this.line("notice", data.message || data.reason);
  }

  add(element) {
    this.root.append(element);
    return element;
  }

  line(kind, text) {
    if (text) this.add(el("p", { class: `line ${kind}` }, oneLine(text, 2000)));
    if (kind === "error") this.say(`Error: ${oneLine(text)}`);
  }

  // -- text

  bubble(id, role, name) {
    let found = this.messages.get(id);
    if (!found) {
      const body = el("div", { class: "body" });
      const who = name || (role === "assistant" && this.agent) || WHO[role] || role;
      const element = this.add(el("section", { class: `message ${role}` }, el("h3", { class: "who" }, who), body));
      if (role !== "assistant") body.classList.add("prose"); // as it was typed
      found = { element, body, text: "", complete: false, plain: role !== "assistant" };
      this.messages.set(id, found);
    }
    return found;
  }

  message(id, data) {
    const text = String(data.content ?? "");
    const known = this.messages.get(id);
    if (known?.complete) return;
    if (!known && !text.trim()) return; // only tools were asked for: they show themselves
    if (data.role === "tool") return;
    const bubble = this.bubble(id, data.role || "assistant", data.role === "user" ? data.user_name : "");
    bubble.text = text;
    bubble.complete = true;
    bubble.element.classList.remove("streaming");
    if (!text.trim()) bubble.element.hidden = true;
    this.soon(bubble);
    if (data.role === "assistant" && text.trim()) this.say(`${this.agent || "Agent"}: ${oneLine(text, 400)}`);
  }

  chunk(id, data) {
    if (this.messages.get(id)?.complete) return;
    const bubble = this.bubble(id, "assistant", data.member_name);
    bubble.text += String(data.content ?? "");
    bubble.element.hidden = false;
    bubble.element.classList.add("streaming");
    this.soon(bubble);
  }

  reset(id) {
    const bubble = this.messages.get(id);
    if (!bubble) return;
    if (bubble.text.trim()) this.line("notice", "The model's answer was cut; it starts again");
    bubble.text = "";
    bubble.complete = false;
    bubble.element.hidden = true;
    this.soon(bubble);
    this.root.append(bubble.element); // what comes now comes after what was said meanwhile
  }

  thinking(id, data) {
    const key = `thinking:${id}`;
    let found = this.messages.get(key);
    if (!found) {
      const body = el("pre", { class: "output", tabindex: "0", "aria-label": "Thinking" });
      this.add(el("details", { class: "thinking" }, el("summary", {}, "Thinking"), body));
      found = { body, text: "", plain: true };
      this.messages.set(key, found);
    }
    found.text += String(data.thinking ?? "");
    this.soon(found);
  }

  // Text is drawn once a frame, however many pieces came.
  soon(bubble) {
    if (this.dirty.size === 0) requestAnimationFrame(() => this.draw());
    this.dirty.add(bubble);
  }

  draw() {
    const stick = this.atEnd();
    for (const bubble of this.dirty) bubble.body.replaceChildren(bubble.plain ? bubble.text : prose(bubble.text));
    this.dirty.clear();
    if (stick) this.toEnd();
  }

  atEnd() {
    return this.root.scrollHeight - this.root.scrollTop - this.root.clientHeight < 80;
  }

  toEnd() {
    this.root.scrollTop = this.root.scrollHeight;
  }

  // -- tools

  tool(data) {
    const id = String(data.tool_execution_id);
    let tool = this.tools.get(id);
    if (!tool) {
      const state = el("span", { class: "tool-state" });
      const line = el("code", { class: "tool-line" });
      const body = el("div", { class: "tool-body" });
      const head = el("summary", {}, el("span", { class: "tool-name" }, String(data.tool_name)), line, state);
      const element = this.add(el("details", { class: "tool" }, head, body));
      tool = { element, state, line, body };
      this.tools.set(id, tool);
    }
    return tool;
  }

  toolStarted(data) {
    const tool = this.tool(data);
    const values = data.tool_arguments ?? data.tool_input ?? {};
    tool.line.textContent = oneLine(summary(values), 300);
    tool.body.replaceChildren(argumentList(values));
    this.toolState(tool, "running", "running");
  }

  toolCompleted(data) {
    const tool = this.tool(data);
    const good = ["success", "completed"].includes(String(data.status ?? data.tool_status).toLowerCase());
    const words = [OUTCOMES[data.outcome] || (good ? "done" : "failed"), duration(data.duration_seconds ?? NaN)];
    this.toolState(tool, good ? "good" : "bad", words.filter(Boolean).join(", "));
    const output = typeof data.tool_output === "string" ? data.tool_output : data.tool_output ? JSON.stringify(data.tool_output, null, 2) : "";
    const parts = [];
    if (data.tool_error && !output.includes(data.tool_error)) parts.push(el("pre", { class: "output bad", tabindex: "0", "aria-label": "Error" }, String(data.tool_error)));
    if (output.trim()) parts.push(el("pre", { class: "output", tabindex: "0", "aria-label": "Output" }, output.replace(/\n$/, "")));
    if (!parts.length) parts.push(el("p", { class: "help" }, "No output"));
    tool.body.append(...parts);
    if (!good) tool.element.open = true;
  }

  toolState(tool, kind, text) {
    tool.state.textContent = text;
    tool.element.dataset.state = kind;
  }

  // -- questions

  // Whether a person is asked something at this moment.
  get asks() {
    return [...this.approvals.values()].some((question) => !question.card.dataset.status);
  }

  asked(data) {
    const id = String(data.approval_id);
    if (this.approvals.has(id)) return;
    const reason = el("input", { type: "text", class: "reason", placeholder: "Reason (optional)", "aria-label": "Reason" });
    const failure = el("p", { class: "error", role: "alert" });
    const buttons = ["approved", "rejected"].map((decision) => el(
      "button",
      { class: decision === "approved" ? "primary" : "danger", type: "button", onclick: () => this.press(id, decision) },
      decision === "approved" ? "Approve" : "Deny",
    ));
    const title = el("h3", {}, "Approval needed: ", el("code", {}, String(data.tool_name)));
    if (data.risk_level) title.append(el("span", { class: `risk ${data.risk_level}` }, `${data.risk_level} risk`));
    const form = el("div", { class: "ask-form" }, reason, el("div", { class: "actions" }, ...buttons));
    const card = el(
      "section",
      { class: "ask", "aria-label": `Approval of ${data.tool_name}` },
      title,
      data.reason ? el("p", { class: "help" }, String(data.reason)) : null,
      argumentList(data.tool_args ?? {}),
      form,
      failure,
    );
    this.approvals.set(id, { card: this.add(card), form, reason, buttons, failure });
    this.say(`Approval needed: ${data.tool_name} ${oneLine(summary(data.tool_args))}`);
  }

  async press(id, decision) {
    const question = this.approvals.get(id);
    question.failure.textContent = "";
    for (const button of question.buttons) button.disabled = true;
    try {
      await this.answer(id, decision, question.reason.value.trim());
    } catch (error) {
      question.failure.textContent = error.message;
      for (const button of question.buttons) button.disabled = false;
    }
  }

  resolved(data) {
    const question = this.approvals.get(String(data.approval_id));
    if (!question) return;
    const held = question.form.contains(document.activeElement);
    const who = data.approved_by_name || data.approved_by_email;
    const words = { approved: "Approved", rejected: "Denied", expired: "Expired: nobody answered" }[data.status] || data.status;
    const why = data.status === "expired" ? "" : data.rejection_reason ? `: ${data.rejection_reason}` : "";
    const by = who && data.status !== "expired" ? ` by ${who}` : "";
    question.card.dataset.status = data.status;
    question.form.replaceWith(el("p", { class: "resolved" }, `${words}${by}${why}`));
    if (held) this.root.focus({ preventScroll: true }); // the button that had it is gone
    this.say(`${words}${by}`);
  }
}
