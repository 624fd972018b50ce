// One step of an execution: what went in, what came out, which policy judged it, and its events as they are.

import { clock } from "./clock.js";
import { drawing, fenced } from "./drawing.js";
import { dollars } from "./executions.js";
import { Markdown } from "./message.js";
import { argumentList, copyButton, output } from "./output.js";
import { KINDS } from "./steps.js";
import { duration, el, oneLine, summary } from "./text.js";

const EVENTS = 20; // of a step that are shown; text that streamed comes in hundreds

// Nodes for a step. `address(key)`: of another step; `raw`: the execution's events by their number.
export function stepNodes(step, steps, address, raw) {
  const took = step.end === null || step.end === step.start ? "" : duration((step.end - step.start) / 1000);
  const usage = step.usage || {};
  const cached = usage.cache_read_tokens || 0;
  const rows = [
    ["Outcome", step.words || (step.end === null ? "not over yet" : "")],
    ["Who", step.who],
    ["Began", clock(new Date(step.start).toISOString(), { zone: true })],
    ["Took", took && [took, step.worked && step.end - step.start - step.worked > 100 ? `${duration(step.worked / 1000)} of it work` : ""].filter(Boolean).join(", ")],
    ["First word", step.first && duration((step.first - step.start) / 1000)],
    ["Provider", step.provider],
    ["Tokens", step.tokens && [`${(usage.input_tokens || 0).toLocaleString("en")} in`, cached && `${cached.toLocaleString("en")} of them cached`, `${(usage.output_tokens || 0).toLocaleString("en")} out`].filter(Boolean).join(", ")],
    ["Cost", dollars(step.cost)],
    ["Worker", step.worker && [step.worker, step.attempt > 1 && `attempt ${step.attempt}`].filter(Boolean).join(", ")],
    ["Risk", step.risk],
    ["Asked because", step.reason],
  ];
  const nodes = [facts(rows)];
  if (step.attempts.length) nodes.push(el("h3", {}, "Attempts that did not last"), el("ul", { class: "attempts" }, ...step.attempts.map(({ at, text }) => el("li", {}, clock(new Date(at).toISOString()), ` ${oneLine(text, 400)}`))));
  nodes.push(...inputOf(step, steps, address), ...outputOf(step), ...judged(step), ...eventsOf(step, raw));
  return nodes;
}

export function titleOf(step) {
  const word = KINDS[step.kind];
  return [step.who, step.name === word ? word : `${word}: ${step.name}`].filter(Boolean).join(" · ");
}

function facts(rows) {
  const list = el("dl", { class: "arguments" });
  for (const [name, value] of rows) if (value) list.append(el("dt", {}, name), el("dd", {}, value));
  return list;
}

function heading(words, text) {
  return el("div", { class: "heading" }, el("h3", {}, words), text === null ? null : copyButton(() => text, words));
}

// A model's input is what was new in its call: what came before was the input of the calls before it.
function inputOf(step, steps, address) {
  if (step.kind === "model") {
    const given = step.inputs.map((key) => steps.byKey.get(key)).filter(Boolean);
    if (!given.length) return [];
    const text = given.map((each) => `${titleOf(each)}\n${each.output || each.error || ""}`).join("\n\n");
    return [heading("Input: what was new in this call", text), ...given.map((each) => el("details", { class: "part", open: given.length === 1 }, el("summary", {}, el("a", { href: address(each.key) }, titleOf(each)), ` ${oneLine(each.output || each.error, 80)}`), output(each.output || each.error || "Nothing", { label: titleOf(each) })))];
  }
  if (step.input === undefined) return [];
  return [heading("Input", JSON.stringify(step.input, null, 2)), argumentList(step.input)];
}

function outputOf(step) {
  const nodes = [];
  if (step.thinking) nodes.push(heading("Thinking", step.thinking), output(step.thinking, { label: "Thinking" }));
  if (step.kind === "model") {
    if (step.output.trim()) {
      const body = el("div", { class: "body" });
      new Markdown(body).show(step.output);
      nodes.push(heading("Output", step.output), body);
    }
    for (const call of step.calls || []) {
      const words = typeof call.arguments === "string" ? call.arguments : JSON.stringify(call.arguments, null, 2);
      nodes.push(heading(`Asks for ${call.name}`, words), el("p", { class: "help" }, oneLine(summary(parsed(words)), 300)));
    }
    return nodes;
  }
  if (step.error && !step.output.includes(step.error)) nodes.push(heading("Error", null), output(String(step.error), { label: "Error", bad: true }));
  const diagram = fenced(step.output);
  const picture = diagram === null ? null : drawing(diagram);
  if (picture) nodes.push(heading("Output", step.output), picture);
  else if (step.output.trim()) nodes.push(heading(step.kind === "approval" ? "Answer" : "Output", null), output(step.output.replace(/\n$/, ""), { name: `${step.name}.txt` }));
  for (const file of step.result?.files || []) nodes.push(el("p", { class: "help" }, `File of the workspace: ${file.path || file.name} · ${file.type || ""}`));
  return nodes;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// What decided whether the call may run: a rule, a policy service, a person.
function judged(step) {
  const found = step.enforcement;
  if (!found) return step.kind === "tool" ? [el("p", { class: "help" }, "No rule, policy service or person was asked about this call.")] : [];
  const rule = found.rule_id && el("a", { href: `#/definitions/Rule/${encodeURIComponent(found.rule_id)}` }, String(found.rule_name || found.rule_id));
  const approver = found.approver && (typeof found.approver === "string" ? found.approver : found.approver.name || found.approver.email);
  const rows = [
    ["Decision", String(found.decision || "").replaceAll("_", " ")],
    ["Because", found.reason],
    ["Rule", rule],
    ["Rules", found.rules_version && `version ${found.rules_version}${found.rules_age_seconds ? `, ${Math.round(found.rules_age_seconds)} s old` : ""}`],
    ["Policy service", [...(found.policies || []), found.id].filter(Boolean).join(", ")],
    ["It took", found.latency_ms && `${Math.round(found.latency_ms)} ms`],
    ["Fault", found.fault],
    ["Approved by", approver],
    ["Arguments' hash", found.arguments_hash && el("code", { class: "id" }, found.arguments_hash)],
  ];
  return [heading("What judged it", JSON.stringify(found, null, 2)), facts(rows)];
}

function eventsOf(step, raw) {
  const events = step.events.map((sequence) => raw.get(sequence)).filter(Boolean);
  if (!events.length) return [];
  const shown = events.slice(-EVENTS);
  const cut = events.length - shown.length;
  const details = el("details", { class: "part" }, el("summary", {}, `Raw events (${events.length.toLocaleString("en")})`));
  details.addEventListener("toggle", () => {
    if (!details.open || details.children.length > 1) return;
    if (cut) details.append(el("p", { class: "help" }, `The last ${EVENTS}; all are under Events.`));
    for (const event of shown) details.append(eventText(event));
  });
  return [details];
}

// An event as it is, to read and to copy.
export function eventText(event) {
  const { key, ...shown } = event;
  return output(JSON.stringify(shown, null, 2), { label: `Event ${event.sequence}`, name: `event-${event.sequence}.json`, plain: true });
}
