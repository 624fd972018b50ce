// A question to a person in the conversation: an approval, or a question of the agent.

import { argumentList } from "./output.js";
import { needs } from "./rights.js";
import { el } from "./text.js";

export class Ask {
  // `press(decision, reason, question)` sends the answer, and throws why it was refused. `lost()`: the button that had
  // the focus is gone.
  constructor(data, { press, lost }) {
    Object.assign(this, { data, press, lost, element: null, ended: null });
    this.keeps = true; // what a person types is not lost when it leaves the document for a while
    this.question = Boolean(data.enforcement?.question);
    this.path = (data.member_path || []).join(" → ");
  }

  make() {
    const { data, question } = this;
    const label = question ? "Your answer" : "Reason";
    this.reason = el("input", { type: "text", class: "reason", placeholder: question ? label : "Reason (optional)", "aria-label": label });
    this.failure = el("p", { class: "error", role: "alert" });
    this.buttons = ["approved", "rejected"].map((decision) => el(
      "button",
      { class: decision === "approved" ? "primary" : "danger", type: "button", onclick: () => this.send(decision) },
      decision === "approved" ? (question ? "Answer" : "Approve") : question ? "Do not answer" : "Deny",
    ));
    const title = question ? el("h3", {}, "The agent asks") : el("h3", {}, "Approval needed: ", el("code", {}, String(data.tool_name)));
    if (data.risk_level && !question) title.append(el("span", { class: `risk ${data.risk_level}` }, `${data.risk_level} risk`));
    this.form = el("div", { class: "ask-form" }, this.reason, el("div", { class: "actions" }, ...this.buttons));
    needs(this.form, "POST /approvals/{approval}/approve");
    this.element = el(
      "section",
      { class: "ask", "aria-label": question ? "A question" : `Approval of ${data.tool_name}` },
      title,
      this.path ? el("p", { class: "help asks" }, `Asked by ${this.path}`) : null,
      data.reason && !question ? el("p", { class: "help" }, String(data.reason)) : null,
      argumentList(data.tool_args ?? {}),
      this.form,
      this.failure,
    );
    this.update();
    return this.element;
  }

  async send(decision) {
    this.failure.textContent = "";
    for (const button of this.buttons) button.disabled = true;
    try {
      await this.press(decision, this.reason.value.trim(), this.question);
    } catch (error) {
      this.failure.textContent = error.message;
      for (const button of this.buttons) button.disabled = false;
    }
  }

  // Returns how it ended, in words.
  resolved(data) {
    const who = data.approved_by_name || data.approved_by_email;
    const words = { approved: this.question ? "Answered" : "Approved", rejected: this.question ? "Not answered" : "Denied", expired: "Expired: nobody answered" }[data.status] || data.status;
    const why = data.status === "expired" ? "" : data.rejection_reason ? `: ${data.rejection_reason}` : "";
    const by = who && data.status !== "expired" ? ` by ${who}` : "";
    this.ended = { status: data.status, text: `${words}${by}${why}` };
    this.list?.change(this);
    return `${words}${by}`;
  }

  update() {
    if (!this.ended || this.element.dataset.status) return;
    const held = this.form.contains(document.activeElement);
    this.element.dataset.status = this.ended.status;
    this.form.replaceWith(el("p", { class: "resolved" }, this.ended.text));
    if (held) this.lost();
  }
}
