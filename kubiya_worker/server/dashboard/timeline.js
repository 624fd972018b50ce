// One execution's conversation, out of its events: text as it streams, tools, questions to a person, notices.

import { Ask } from "./ask.js";
import { Message, Thinking } from "./message.js";
import { el, oneLine, summary } from "./text.js";
import { Tool } from "./tool.js";
import { Windowed } from "./windowed.js";

const MOST = 600; // elements of the conversation that are in the document at once
// What a member of a team does is told as the team's own, beside whose it is.
export const MEMBERS = { member_message_complete: "message", member_message_chunk: "message_chunk", member_tool_started: "tool_started", member_tool_completed: "tool_completed" };

export class Timeline {
  // `answer(approvalId, decision, reason)` sends a person's answer; `say(text)` is read out by screen readers;
  // `drawn()`: what is in the document has changed.
  constructor(root, { answer, say, drawn }) {
    Object.assign(this, { root, answer, say });
    this.list = new Windowed(root, { most: MOST, scroller: root, drawn });
    root.addEventListener("scroll", () => this.list.scrolled(), { passive: true });
    this.clear();
  }

  clear() {
    this.list.clear();
    this.messages = new Map();
    this.tools = new Map();
    this.approvals = new Map();
    this.agent = "";
  }

  take(type, data, at) {
    const id = String(data.message_id ?? "");
    type = MEMBERS[type] || type;
    if (type === "message") this.message(id, data, data.timestamp || at);
    else if (type === "message_chunk") this.chunk(id, data, at);
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
  add(item, data = {}) {
    const call = this.tools.get(String(data.parent_tool_execution_id));
    (call ? call.inside() : this.list).push(item);
    return item;
  }

  line(kind, text, data) {
    const make = () => el("p", { class: `line ${kind}` }, oneLine(text, 2000));
    if (text) this.add({ make, update() {}, element: null }, data);
    if (kind === "error") this.say(`Error: ${oneLine(text)}`);
  }

  // -- text

  bubble(id, role, data, at) {
    let found = this.messages.get(id);
    if (!found) {
      found = this.add(new Message(id, role, data, this.agent, at), data);
      this.messages.set(id, found);
    }
    return found;
  }

  message(id, data, at) {
    const text = String(data.content ?? "");
    const known = this.messages.get(id);
    if (known?.complete) return;
    if (!known && !text.trim()) return; // only tools were asked for: they show themselves
    if (data.role === "tool") return;
    const bubble = this.bubble(id, data.role || "assistant", data, at);
    Object.assign(bubble, { text, complete: true });
    bubble.list.change(bubble);
    if (data.role === "assistant" && text.trim()) this.say(`${data.member_name || this.agent || "Agent"}: ${oneLine(text.slice(0, 2000), 400)}`);
  }

  chunk(id, data, at) {
    if (this.messages.get(id)?.complete) return;
    const bubble = this.bubble(id, "assistant", data, at);
    bubble.text += String(data.content ?? "");
    bubble.list.change(bubble);
  }

  reset(id) {
    const bubble = this.messages.get(id);
    if (!bubble) return;
    if (bubble.text.trim()) this.line("notice", "The model's answer was cut; it starts again");
    Object.assign(bubble, { text: "", complete: false });
    bubble.list.again(bubble); // what comes now comes after what was said meanwhile
  }

  thinking(id, data) {
    const key = `thinking:${id}`;
    let found = this.messages.get(key);
    if (!found) this.messages.set(key, (found = this.add(new Thinking(), data)));
    found.text += String(data.thinking ?? "");
    found.list.change(found);
  }

  atEnd() {
    return this.list.atEnd();
  }

  // Whether the conversation is what is shown of the run.
  shown(yes) {
    if (yes) this.list.wake();
    else this.list.rest();
  }

  toEnd() {
    this.list.toEnd();
  }

  // -- tools

  tool(data) {
    const id = String(data.tool_execution_id);
    let tool = this.tools.get(id);
    if (!tool) this.tools.set(id, (tool = this.add(new Tool(data), data)));
    return tool;
  }

  // -- questions

  // Whether a person is asked something at this moment.
  get asks() {
    return [...this.approvals.values()].some((question) => !question.ended);
  }

  asked(data) {
    const id = String(data.approval_id);
    if (this.approvals.has(id)) return;
    const press = (decision, reason, question) => this.answer(id, decision, reason, question);
    const lost = () => this.root.focus({ preventScroll: true });
    const question = new Ask(data, { press, lost });
    this.approvals.set(id, question);
    this.list.push(question);
    this.say(`${question.question ? "A question" : "Approval needed"}${question.path && ` by ${question.path}`}: ${data.tool_name} ${oneLine(summary(data.tool_args))}`);
  }

  resolved(data) {
    const question = this.approvals.get(String(data.approval_id));
    if (question) this.say(question.resolved(data));
  }
}
