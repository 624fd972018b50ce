// The records of every decision and change: who, from where, when, what, before and after.

import { call } from "./api.js";
import { clock } from "./clock.js";
import { notFound, nothing } from "./frame.js";
import { List, set } from "./list.js";
import { $, age, el, oneLine } from "./text.js";

const HOURS = { hour: 1, day: 24, week: 168, month: 720 };
const PAGE = 50;

export class Records extends List {
  make(record) {
    const what = el("span", { class: "row-prompt" }, about(record));
    const action = el("span", { class: "status", "data-status": record.outcome === "refused" ? "failed" : "" }, record.action);
    const facts = el("span", { class: "row-facts" });
    const link = el("a", { href: `#/audit/${record.seq}` }, what, el("span", { class: "row-line" }, action, facts));
    return { item: el("li", {}, link), link, facts };
  }

  update(row, record) {
    set(row.facts, `${who(record)} · ${age(record.at)}`);
  }
}

export class Audit {
  // `refused()`: the session is not known any more. `changed()`: the list is to be asked again.
  constructor({ refused, changed }) {
    Object.assign(this, { refused, chosen: null, limit: PAGE, known: new Map() });
    this.records = new Records($("audit-rows"), $("no-audit"));
    for (const id of ["audit-kind", "audit-since", "audit-outcome"]) $(id).addEventListener("change", changed);
    $("audit-person").addEventListener("input", changed);
    $("audit-filters").addEventListener("submit", (event) => event.preventDefault());
    $("audit-more").addEventListener("click", () => {
      this.limit = Math.min(1000, this.limit + PAGE);
      changed();
    });
    $("audit-verify").addEventListener("click", () => this.verify());
  }

  clear() {
    this.records.clear();
    this.known.clear();
    this.forget();
  }

  leave() {
    this.chosen = null;
    $("record").hidden = true;
  }

  forget() {
    $("audit-told").textContent = "";
    $("record-body").replaceChildren();
  }

  query() {
    const hours = HOURS[$("audit-since").value];
    const since = hours ? new Date(Date.now() - hours * 3_600_000).toISOString() : "";
    const given = { action: $("audit-kind").value, person: $("audit-person").value.trim(), outcome: $("audit-outcome").value, since };
    return new URLSearchParams([...Object.entries(given).filter(([, value]) => value), ["limit", this.limit + 1]]);
  }

  async list() {
    const asked = [$("audit-kind"), $("audit-person"), $("audit-since"), $("audit-outcome")].map((field) => field.value).join("\n");
    this.asked = asked;
    const found = await call("GET", `/audit?${this.query()}`);
    if (asked !== this.asked) return; // another choice was made meanwhile, and is being asked for
    for (const record of found) this.known.set(String(record.seq), record);
    const shown = found.slice(0, this.limit).map((record) => ({ ...record, id: String(record.seq) }));
    this.records.show(shown, this.chosen, "No record fits.");
    $("audit-more").hidden = found.length <= this.limit || this.limit >= 1000;
  }

  async open(id) {
    this.chosen = id;
    let record = this.known.get(id);
    if (!record) {
      nothing(el("p", {}, "Loading …"));
      try {
        const number = /^\d{1,15}$/.test(id) ? Number(id) : 0;
        [record] = number ? await call("GET", `/audit?before=${number + 1}&limit=1`) : [];
      } catch (error) {
        if (this.chosen !== id) return;
        if (error.status === 401) return this.refused();
        return notFound(error.message, "#/audit", "All records");
      }
      if (this.chosen !== id) return;
    }
    if (!record || String(record.seq) !== id) return notFound(`There is no record ${oneLine(id, 40)}`, "#/audit", "All records");
    nothing();
    $("record").hidden = false;
    $("record-title").textContent = `${record.action} ${about(record)}`;
    $("record-status").textContent = record.outcome;
    $("record-status").dataset.status = record.outcome === "refused" ? "failed" : "completed";
    $("record-body").replaceChildren(...facts(record));
    document.title = `${record.action} · Kubiya`;
    $("detail").focus({ preventScroll: true });
  }

  async verify() {
    $("audit-verify").disabled = true;
    $("audit-told").textContent = "Checking …";
    try {
      const found = await call("GET", "/audit/verify");
      const wrong = found.problems.map((each) => each.text);
      $("audit-told").className = wrong.length ? "error" : "help";
      $("audit-told").textContent = wrong.length
        ? `The chain is broken: ${wrong.slice(0, 5).join("; ")}${wrong.length + found.more > 5 ? ` and ${wrong.length + found.more - 5} more` : ""}`
        : `${found.records.toLocaleString("en")} records: none was changed, removed, moved or inserted. The last one is ${found.head.slice(0, 20)}…`;
      $("audit-told").title = found.head;
    } catch (error) {
      if (error.status === 401) this.refused();
      $("audit-told").className = "error";
      $("audit-told").textContent = error.message;
    }
    $("audit-verify").disabled = false;
  }
}

function who(record) {
  const person = record.who || {};
  return oneLine(person.name || person.email || person.key || "nobody", 60);
}

function about(record) {
  return oneLine(record.object?.name || record.object?.id || "", 200) || record.action;
}

function facts(record) {
  const person = record.who || {};
  const place = record.from || {};
  const rule = record.rule || {};
  const rows = [
    ["Who", [person.name, person.email, person.role, person.key && `key ${person.key}`].filter(Boolean).join(" · ")],
    ["From", [place.address, place.client].filter(Boolean).join(" · ")],
    ["When", clock(record.at, { zone: true })],
    ["About", [record.object?.kind, record.object?.name, record.object?.id].filter(Boolean).join(" · ")],
    ["Request", record.request],
    ["Why", [record.reason, record.detail].filter(Boolean).join(" · ")],
    ["Execution", record.execution_id && el("a", { href: `#/executions/${encodeURIComponent(record.execution_id)}` }, record.execution_id)],
    ["Rule", [rule.name || rule.id, rule.rules_version && `version ${rule.rules_version}`].filter(Boolean).join(" · ")],
    ["Arguments", record.arguments_hash && el("code", { class: "id" }, record.arguments_hash)],
    ["Record", el("code", { class: "id" }, `${record.seq}:${record.hash}`)],
  ];
  const list = el("dl", { class: "arguments" });
  for (const [name, value] of rows) if (value) list.append(el("dt", {}, name), el("dd", {}, value));
  return [list, ...differences(record.before || {}, record.after || {})];
}

// A table of the fields that changed; values that are hidden in the record stay hidden.
function differences(before, after) {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  if (!names.length) return [];
  const head = el("tr", {}, ...["Field", "Before", "After"].map((text) => el("th", { scope: "col" }, text)));
  const rows = names.map((name) => el("tr", {}, el("th", { scope: "row" }, name), cell(before, name), cell(after, name)));
  const table = el("table", { class: "differences" }, el("thead", {}, head), el("tbody", {}, ...rows));
  return [el("h3", {}, "What changed"), el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "What changed" }, table)];
}

function cell(side, name) {
  if (!(name in side)) return el("td", { class: "help" }, "–");
  const value = side[name];
  return el("td", {}, typeof value === "string" ? value : JSON.stringify(value));
}
