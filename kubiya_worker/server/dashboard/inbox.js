// All that waits for a person: the list, and answers to several at once.

import { isQuestion, send, until } from "./approval.js";
import { clock } from "./clock.js";
import { List, set } from "./list.js";
import { $, age, el, oneLine, summary } from "./text.js";

export class Inbox extends List {
  // `changed()`: the list is to be asked again.
  constructor(rows, empty, { changed }) {
    super(rows, empty);
    this.changed = changed;
    this.picked = new Set();
    this.byId = new Map();
    $("batch-approve").addEventListener("click", () => this.answer("approve"));
    $("batch-deny").addEventListener("click", () => this.answer("reject"));
    rows.addEventListener("keydown", (event) => this.key(event));
  }

  // `pending`: open requests; `waiting`: executions that wait for a message.
  fill(pending, waiting, chosen) {
    const things = [...pending.map((each) => ({ ...each, request: true })), ...waiting].sort((a, b) => Date.parse(a.created_at) - Date.parse(b.created_at));
    this.byId = new Map(things.map((each) => [each.id, each]));
    for (const id of this.picked) if (!this.byId.has(id)) this.picked.delete(id);
    this.show(things, chosen, "Nothing waits for a person.");
    this.showBatch();
  }

  clear() {
    super.clear();
    this.picked.clear();
    this.byId.clear();
    $("inbox-count").hidden = true;
  }

  make(thing) {
    const words = oneLine(thing.request ? summary(thing.tool_args) : thing.last_message_preview || thing.prompt, 200);
    const box = el("input", { type: "checkbox", "aria-label": `Choose: ${oneLine(words, 60)}`, disabled: thing.you_may_answer === false || isQuestion(thing) });
    box.addEventListener("change", () => {
      if (box.checked) this.picked.add(thing.id);
      else this.picked.delete(thing.id);
      this.showBatch();
    });
    const what = el("span", { class: "row-prompt" }, el("strong", {}, nameOf(thing)), ` ${words}`);
    const state = el("span", { class: "status", "data-status": "approval" });
    const ends = el("span", { class: "row-facts" });
    const href = thing.request ? `#/inbox/${encodeURIComponent(thing.id)}` : `#/executions/${encodeURIComponent(thing.id)}`;
    const link = el("a", { href }, what, el("span", { class: "row-line" }, state, clock(thing.created_at)), ends);
    return { item: el("li", { class: thing.request ? "pickable" : null }, thing.request ? box : null, link), link, state, ends };
  }

  update(row, thing) {
    const risk = thing.risk_level && !isQuestion(thing) ? `${thing.risk_level} risk` : isQuestion(thing) ? "question" : thing.request ? "approval" : "waits for a message";
    set(row.state, risk);
    set(row.ends, [`asked ${age(thing.created_at)}`, thing.expires_at && until(thing.expires_at), thing.you_may_answer === false && "not for you"].filter(Boolean).join(" · "));
  }

  // -- several at once

  // Only requests of one tool and one rule: they are read and decided as one thing.
  get chosenOnes() {
    return [...this.picked].map((id) => this.byId.get(id)).filter(Boolean);
  }

  showBatch() {
    const found = this.chosenOnes;
    $("batch").hidden = !found.length;
    if (!found.length) return;
    const kinds = new Set(found.map((each) => `${each.tool_name} ${each.rule_id || ""}`));
    const one = kinds.size === 1;
    set($("batch-words"), one ? `${found.length} calls of ${found[0].tool_name}: ${found.map((each) => oneLine(summary(each.tool_args), 120)).join(" · ")}` : "These are of several tools or rules: choose those of one.");
    set($("batch-approve"), `Approve ${found.length}`);
    set($("batch-deny"), `Deny ${found.length}`);
    for (const id of ["batch-approve", "batch-deny"]) $(id).disabled = !one;
  }

  async answer(decision) {
    const found = this.chosenOnes;
    set($("batch-error"), "");
    for (const id of ["batch-approve", "batch-deny"]) $(id).disabled = true;
    const failed = [];
    for (const request of found) {
      try {
        await send(request, decision, {});
        this.picked.delete(request.id);
      } catch (error) {
        failed.push(`${oneLine(summary(request.tool_args), 60)}: ${error.message}`);
      }
    }
    set($("batch-error"), failed.join("; "));
    this.showBatch();
    this.changed();
  }

  // j and k go through the rows, x chooses.
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const links = [...this.rows.querySelectorAll("a")];
    const at = links.findIndex((link) => link.closest("li").contains(document.activeElement));
    const step = { j: 1, k: -1 }[event.key];
    if (step && links[at + step]) links[at + step].focus();
    else if (event.key === "x") links[at]?.closest("li").querySelector("input:enabled")?.click();
  }
}

function nameOf(thing) {
  if (!thing.request) return thing.entity_name || "execution";
  return isQuestion(thing) ? "question" : thing.tool_name;
}
