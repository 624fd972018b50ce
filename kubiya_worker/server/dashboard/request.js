// One open request: what is to be allowed, how it differs from the last time, and the answer.

import { call } from "./api.js";
import { isQuestion, send, until } from "./approval.js";
import { clock } from "./clock.js";
import { differenceNode } from "./difference.js";
import { notFound, nothing, say } from "./frame.js";
import { argumentList } from "./output.js";
import { here } from "./place.js";
import { $, el, oneLine } from "./text.js";

const SEEN = 1000; // ms that a request is open before a key answers it: no blind double press

export class Request {
  // `refused()`: the key is not known any more. `changed()`: the list is to be asked again.
  constructor({ refused, changed }) {
    Object.assign(this, { refused, changed, chosen: null, request: null });
    $("request-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.answer("approve");
    });
    $("request-deny").addEventListener("click", () => this.answer("reject"));
    $("request-edit").addEventListener("click", () => this.edit());
    document.addEventListener("keydown", (event) => this.key(event));
  }

  leave() {
    Object.assign(this, { chosen: null, request: null, edited: null });
    $("request").hidden = true;
  }

  async open(id) {
    this.chosen = id;
    nothing(el("p", {}, "Loading …"));
    try {
      const request = await call("GET", `/approvals/${encodeURIComponent(id)}`);
      const [execution, before] = await Promise.all([
        call("GET", `/executions/${encodeURIComponent(request.execution_id)}`),
        call("GET", "/approvals?status=approved&limit=200"),
      ]);
      if (this.chosen !== id) return;
      this.show(request, execution, before.find((each) => each.tool_name === request.tool_name && each.id !== id));
    } catch (error) {
      if (this.chosen !== id) return;
      if (error.status === 401) return this.refused();
      notFound(error.message, "#/inbox", "Inbox");
    }
  }

  show(request, execution, last) {
    const question = isQuestion(request);
    const open = request.status === "pending";
    Object.assign(this, { request, edited: null, since: Date.now() });
    nothing();
    $("request").hidden = false;
    $("request-title").textContent = question ? "The agent asks" : `Allow ${request.tool_name}?`;
    $("request-status").textContent = open ? (request.risk_level && !question ? `${request.risk_level} risk` : "waits") : request.status;
    $("request-status").dataset.status = open ? "approval" : request.status;
    document.title = `${$("request-title").textContent} · Kubiya`;
    const link = el("a", { href: `#/executions/${encodeURIComponent(execution.id)}` }, oneLine(execution.prompt, 80));
    const facts = [execution.entity_name, link, el("span", {}, "asked ", clock(request.created_at, { zone: true })), open && request.expires_at && until(request.expires_at)];
    $("request-facts").replaceChildren(...facts.filter(Boolean).map((fact) => el("span", {}, fact)));
    const may = open && request.you_may_answer !== false;
    $("request-body").replaceChildren(...this.told(request, question, last, may));
    $("request-form").hidden = !may;
    $("request-reason").value = "";
    $("request-reason").placeholder = question ? "Your answer" : "Reason (optional)";
    $("request-reason").setAttribute("aria-label", question ? "Your answer" : "Reason");
    $("request-remember").checked = false;
    $("request-remember-line").hidden = $("request-edit").hidden = question;
    $("request-edit").textContent = "Edit arguments";
    $("request-approve").textContent = question ? "Answer" : "Approve";
    $("request-deny").textContent = question ? "Do not answer" : "Deny";
    $("request-error").textContent = "";
    $("detail").focus({ preventScroll: true });
  }

  told(request, question, last, may) {
    const rule = request.rule?.name || request.enforcement_context?.rule_name;
    const ended = [request.status, request.approved_by_name && `by ${request.approved_by_name}`, request.rejection_reason || request.comment].filter(Boolean).join(" · ");
    const told = [
      request.status === "pending" ? null : el("p", { class: "resolved" }, ended),
      request.reason && !question ? el("p", {}, String(request.reason)) : null,
      rule ? el("p", { class: "help" }, `Asked by the rule ${rule}`) : null,
      request.approvers?.text ? el("p", { class: "help" }, `May answer: ${request.approvers.text}`) : null,
      may || request.status !== "pending" ? null : el("p", { class: "help" }, "You may not answer this one."),
      el("h3", {}, question ? "Question" : "Arguments"),
      argumentList(request.tool_args ?? {}),
    ];
    if (!question && last) told.push(el("h3", {}, "Since the last time that this tool was approved"), el("p", { class: "help" }, clock(last.resolved_at || last.updated_at), ` by ${last.approved_by_name || "somebody"}`), ...changes(last.edited_args || last.tool_args || {}, request.tool_args || {}));
    else if (!question) told.push(el("p", { class: "help" }, "No earlier call of this tool was approved, as far as the last 200 answers tell."));
    return told.filter(Boolean);
  }

  edit() {
    if (this.edited) {
      this.edited.closest(".editing").remove();
      this.edited = null;
    } else {
      this.edited = el("textarea", { rows: "10", "aria-label": "Arguments as JSON", spellcheck: "false" });
      this.edited.value = JSON.stringify(this.request.tool_args ?? {}, null, 2);
      const changed = el("div", {});
      this.edited.addEventListener("input", () => {
        const given = this.arguments();
        changed.replaceChildren(...(given ? changes(this.request.tool_args ?? {}, given) : [el("p", { class: "error" }, "This is no JSON object")]));
      });
      $("request-body").append(el("div", { class: "editing" }, el("h3", {}, "Edited arguments"), this.edited, changed));
      this.edited.focus();
    }
    $("request-edit").textContent = this.edited ? "Leave them as they are" : "Edit arguments";
  }

  // What was typed, if it is an object.
  arguments() {
    try {
      const given = JSON.parse(this.edited.value);
      return given && typeof given === "object" && !Array.isArray(given) ? given : null;
    } catch {
      return null;
    }
  }

  async answer(decision) {
    const request = this.request;
    const given = { reason: $("request-reason").value.trim(), remember: $("request-remember").checked };
    if (this.edited && decision === "approve") {
      given.arguments = this.arguments();
      if (!given.arguments) return ($("request-error").textContent = "The edited arguments are no JSON object");
    }
    const buttons = ["request-approve", "request-deny"];
    for (const id of buttons) $(id).disabled = true;
    $("request-error").textContent = "";
    const on = here();
    try {
      await send(request, decision, given);
      say(decision === "approve" ? "Approved" : "Denied");
      const next = this.next();
      this.changed();
      if (on.still()) on.go(next || "#/inbox");
    } catch (error) {
      if (error.status === 401) return this.refused();
      on.failed(error, `The request of ${request.tool_name} is not answered`, (message) => ($("request-error").textContent = message));
    } finally {
      for (const id of buttons) $(id).disabled = false;
    }
  }

  // The address of the next request in the list.
  next() {
    const links = [...document.querySelectorAll('#inbox-rows a[href^="#/inbox/"]')];
    const at = links.findIndex((link) => link.getAttribute("aria-current"));
    return (links[at + 1] || links[at - 1])?.getAttribute("href");
  }

  key(event) {
    if (!this.request || $("request-form").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, dialog")) return;
    if (event.key === "e" && !$("request-edit").hidden) {
      event.preventDefault();
      this.edit();
    } else if ("ar".includes(event.key) && event.key && Date.now() - this.since > SEEN && !isQuestion(this.request)) this.answer(event.key === "a" ? "approve" : "reject");
  }
}

// What differs, argument by argument.
function changes(before, after) {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  const text = (value) => (value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value, null, 2));
  const differ = names.filter((name) => text(before[name]) !== text(after[name]));
  if (!differ.length) return [el("p", { class: "help" }, "The arguments are the same.")];
  return differ.flatMap((name) => [el("p", { class: "help" }, name), differenceNode(text(before[name]), text(after[name]), `What differs in ${name}`)]);
}
