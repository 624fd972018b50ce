// What people define: agents, teams, rules, queues, models, environments, skills, MCP servers, secrets by name, jobs. The list of all.

import { call } from "./api.js";
import { List, set } from "./list.js";
import { $, el, oneLine, plural } from "./text.js";

const ORDER = ["Agent", "Team", "Rule", "Job", "Queue", "Model", "Environment", "Skill", "MCPServer", "Secret"];
const EVERY = 8000; // ms that a list is good for, unless this page has changed something

let asked = null;

// The JSON schema of documents, asked for once. Its kinds are what the fields for a kind offer.
export function schema() {
  asked ??= call("GET", "/definitions/schema").then(offered, (error) => {
    asked = null;
    throw error;
  });
  return asked;
}

function offered(found) {
  const kinds = found.oneOf.map((each) => each.title).sort((a, b) => rank(a) - rank(b));
  $("definition-new-kind").replaceChildren(...kinds.map((kind) => el("option", {}, kind)));
  $("definition-kind").append(...kinds.map((kind) => el("option", { value: kind }, plural(kind))));
  return found;
}

export class Definitions extends List {
  // `changed()`: the list is to be shown again.
  constructor(rows, empty, { changed }) {
    super(rows, empty);
    this.documents = [];
    this.at = 0;
    $("definition-kind").addEventListener("change", changed);
    $("definition-text").addEventListener("input", changed);
    $("definition-filters").addEventListener("submit", (event) => event.preventDefault());
  }

  clear() {
    super.clear();
    this.documents = [];
    this.forget();
  }

  // Something was changed: the next list is asked for anew.
  forget() {
    this.at = 0;
  }

  async load() {
    if (Date.now() - this.at < EVERY) return this.documents;
    const [{ documents }] = await Promise.all([call("GET", "/definitions"), schema()]);
    this.at = Date.now();
    this.documents = documents.map((each) => ({ ...each, id: `${each.kind}/${each.name}` }));
    return this.documents;
  }

  async refresh(chosen) {
    await this.load();
    const [kind, text] = [$("definition-kind").value, $("definition-text").value.trim().toLowerCase()];
    const found = this.documents.filter((each) => (!kind || each.kind === kind) && (!text || `${each.name} ${about(each)}`.toLowerCase().includes(text)));
    found.sort((a, b) => a.kind.localeCompare(b.kind) || a.name.localeCompare(b.name));
    this.show(found, chosen, this.documents.length ? "No definition is like that." : "Nothing is defined yet. Make an agent here, or in a shell from a file, which kubiya init writes: `kubiya apply -f kubiya.yaml`");
  }

  names(kind) {
    return this.documents.filter((each) => each.kind === kind).map((each) => each.name);
  }

  make(document) {
    const name = el("span", { class: "row-prompt" }, document.name);
    const kind = el("span", { class: "status" }, document.kind);
    const facts = el("span", { class: "row-facts" });
    const link = el("a", { href: addressOf(document.kind, document.name) }, name, el("span", { class: "row-line" }, kind, facts));
    return { item: el("li", {}, link), link, facts };
  }

  update(row, document) {
    set(row.facts, oneLine(about(document), 60));
  }
}

function rank(kind) {
  const at = ORDER.indexOf(kind);
  return at < 0 ? ORDER.length : at;
}

export function addressOf(kind, name, tab = "") {
  const place = name === null ? kind : `${kind}/${encodeURIComponent(name)}`;
  return `#/definitions/${place}${tab ? `?tab=${tab}` : ""}`;
}

function about({ kind, spec = {} }) {
  if (spec.description) return spec.description;
  if (kind === "Rule") return [spec.action || "ask", spec.scope_type, spec.scope_value].filter(Boolean).join(" ");
  if (kind === "Job") return [spec.agent || spec.team, spec.cron_schedule || spec.trigger_type].filter(Boolean).join(" · ");
  if (kind === "Agent") return [spec.model_id, spec.skills?.length && `${spec.skills.length} skill${spec.skills.length === 1 ? "" : "s"}`].filter(Boolean).join(" · ");
  if (kind === "Team") return `${spec.configuration?.member_ids?.length || 0} members`;
  if (kind === "Skill") return spec.type;
  if (kind === "Model") return [spec.model, spec.api_base, spec.queues?.join(", ")].filter(Boolean).join(" · ");
  if (kind === "MCPServer") return spec.url || spec.command;
  if (kind === "Secret") return spec.source ? "from a source" : "kept here";
  return spec.display_name || "";
}
