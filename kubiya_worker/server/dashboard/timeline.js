// One execution's conversation, out of its events: text as it streams, tools, questions to a person, notices.

import { argumentList, el, oneLine, prose, summary } from "./text.js";
import { Tool } from "./tool.js";

const WHO = { user: "You", assistant: "Agent", system: "Control plane" };
// What a member of a team does is told as the team's own, beside whose it is.
const MEMBERS = { member_message_complete: "message", member_message_chunk: "message_chunk", member_tool_started: "tool_started", member_tool_completed: "tool_completed" };

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
    type = MEMBERS[type] || type;
    if (type === "message") this.message(id, data);
    else if (type === "message_chunk") this.chunk(id, data);
    else if (type === "reset_chunks") this.reset(id);
    else if (type === "thinking_delta") this.thinking(id, data);
    else if (type === "tool_started") this.tool(data).started(data);
    else if (type === "tool_completed") this.tool(data).completed(data);
    else if (type === "approval_requested") this.asked(data);
    else if (type === "approval_resolved") this.resolved(data);
    else if (type === "notice") this.line("notice", data.message || data.text, data);
    else if (type === "error") this.line("error", data.details?.error_message || data.error || data.message || "Unknown error", data);
    else if (type === "gap_detected" || type === "degraded") this.line("notice", data.message || data.reason, data);
  }

  // Where `data` belongs: a member's work goes into the call that asked for it.
  add(element, data = {}) {
    const call = this.tools.get(String(data.parent_tool_execution_id));
    (call ? call.inside() : this.root).append(element);
    return element;
  }

  line(kind, text, data) {
    if (text) this.add(el("p", { class: `line ${kind}` }, oneLine(text, 2000)), data);
    if (kind === "error") this.say(`Error: ${oneLine(text)}`);
  }

  // -- text

  bubble(id, role, data) {
    let found = this.messages.get(id);
    if (!found) {
      const body = el("div", { class: "body" });
      const name = role === "user" ? data.user_name : data.member_name || (role === "assistant" && this.agent);
      const who = [name || WHO[role] || role, role === "user" && data.member && `to ${data.member}`].filter(Boolean).join(" ");
      const element = this.add(el("section", { class: `message ${role}` }, el("h3", { class: "who" }, who), body), data);
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
    const bubble = this.bubble(id, data.role || "assistant", data);
    bubble.text = text;
    bubble.complete = true;
    bubble.element.classList.remove("streaming");
    if (!text.trim()) bubble.element.hidden = true;
    this.soon(bubble);
    if (data.role === "assistant" && text.trim()) this.say(`${data.member_name || this.agent || "Agent"}: ${oneLine(text, 400)}`);
  }

  chunk(id, data) {
    if (this.messages.get(id)?.complete) return;
    const bubble = this.bubble(id, "assistant", data);
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
    bubble.element.parentNode.append(bubble.element); // what comes now comes after what was said meanwhile
  }

  thinking(id, data) {
    const key = `thinking:${id}`;
    let found = this.messages.get(key);
    if (!found) {
      const body = el("pre", { class: "output", tabindex: "0", "aria-label": "Thinking" });
      this.add(el("details", { class: "thinking" }, el("summary", {}, "Thinking"), body), data);
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
      tool = new Tool(data);
      this.tools.set(id, tool);
      this.add(tool.element, data);
    }
    return tool;
  }

  // -- questions

  // Whether a person is asked something at this moment.
  get asks() {
    return [...this.approvals.values()].some((question) => !question.card.dataset.status);
  }

  asked(data) {
    const id = String(data.approval_id);
    if (this.approvals.has(id)) return;
    const question = Boolean(data.enforcement?.question);
    const label = question ? "Your answer" : "Reason";
    const reason = el("input", { type: "text", class: "reason", placeholder: question ? label : "Reason (optional)", "aria-label": label });
    const failure = el("p", { class: "error", role: "alert" });
    const buttons = ["approved", "rejected"].map((decision) => el(
      "button",
      { class: decision === "approved" ? "primary" : "danger", type: "button", onclick: () => this.press(id, decision) },
      decision === "approved" ? (question ? "Answer" : "Approve") : question ? "Do not answer" : "Deny",
    ));
    const path = (data.member_path || []).join(" → ");
    const title = question ? el("h3", {}, "The agent asks") : el("h3", {}, "Approval needed: ", el("code", {}, String(data.tool_name)));
    if (data.risk_level && !question) title.append(el("span", { class: `risk ${data.risk_level}` }, `${data.risk_level} risk`));
    const form = el("div", { class: "ask-form" }, reason, el("div", { class: "actions" }, ...buttons));
    const card = el(
      "section",
      { class: "ask", "aria-label": question ? "A question" : `Approval of ${data.tool_name}` },
      title,
      path ? el("p", { class: "help asks" }, `Asked by ${path}`) : null,
      data.reason && !question ? el("p", { class: "help" }, String(data.reason)) : null,
      argumentList(data.tool_args ?? {}),
      form,
      failure,
    );
    this.approvals.set(id, { card: this.add(card), form, reason, buttons, failure, question });
    this.say(`${question ? "A question" : "Approval needed"}${path && ` by ${path}`}: ${data.tool_name} ${oneLine(summary(data.tool_args))}`);
  }

  async press(id, decision) {
    const question = this.approvals.get(id);
    question.failure.textContent = "";
    for (const button of question.buttons) button.disabled = true;
    try {
      await this.answer(id, decision, question.reason.value.trim(), question.question);
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
    const words = { approved: question.question ? "Answered" : "Approved", rejected: question.question ? "Not answered" : "Denied", expired: "Expired: nobody answered" }[data.status] || data.status;
    const why = data.status === "expired" ? "" : data.rejection_reason ? `: ${data.rejection_reason}` : "";
    const by = who && data.status !== "expired" ? ` by ${who}` : "";
    question.card.dataset.status = data.status;
    question.form.replaceWith(el("p", { class: "resolved" }, `${words}${by}${why}`));
    if (held) this.root.focus({ preventScroll: true }); // the button that had it is gone
    this.say(`${words}${by}`);
  }
}
