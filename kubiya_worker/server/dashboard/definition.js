// One definition: a form and YAML of the same document, what a change changes, its versions, and its deletion.

import { call } from "./api.js";
import { addressOf, schema } from "./definitions.js";
import { Deliveries, KINDS } from "./deliveries.js";
import { notFound, nothing, say } from "./frame.js";
import { copyButton } from "./output.js";
import { may } from "./rights.js";
import { SchemaForm } from "./schemaform.js";
import { Trials } from "./trials.js";
import { $, el } from "./text.js";
import { changesTable, versionNodes } from "./versions.js";

const SUGGESTED = { agent: "Agent", team: "Team", environment: "Environment", environment_name: "Environment", worker_queue_name: "Queue", leader_id: "Agent", ref: "Skill" };
const OWN_PAGES = { execution: "#/executions/", job: "#/jobs/", approval: "#/inbox/" };
const SOURCE = "page"; // the set of what is made here: no file's --prune looks at it

export class Definition {
  // `refused()`: the key is not known any more. `changed()`: the list is to be asked again. `names(kind)`: all names.
  constructor({ refused, changed, names }) {
    Object.assign(this, { refused, changed, names, chosen: null, tab: "" });
    this.trials = new Trials($("definition-trials"), { refused });
    this.deliveries = new Deliveries($("definition-deliveries"), { failed: (error) => this.failed(error) });
    $("definition-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.check();
    });
    $("definition-new-kind").addEventListener("change", () => (location.hash = addressOf($("definition-new-kind").value, null)));
    $("definition-delete").addEventListener("click", () => this.ask());
    $("remove-close").addEventListener("click", () => $("remove").close());
    $("remove-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.remove();
    });
    $("change-close").addEventListener("click", () => $("change").close());
    $("change-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.save();
    });
  }

  leave() {
    Object.assign(this, { chosen: null, kind: null, spec: null });
    for (const id of ["change", "remove"]) $(id).close(); // Back leads away from below them
    $("definition").hidden = true;
  }

  async open(id, words) {
    const cut = id.indexOf("/");
    const [kind, name] = cut < 0 ? [id, null] : [id.slice(0, cut), id.slice(cut + 1)];
    Object.assign(this, { chosen: id, kind, name, gone: false, lines: null, text: null });
    nothing(el("p", {}, "Loading …"));
    let document = { spec: {} };
    try {
      this.schema = await schema();
      if (!this.kinds.includes(kind)) throw new Error(`There is no kind ${kind}`);
      if (name !== null) document = await this.stored(kind, name);
    } catch (error) {
      if (this.chosen !== id) return;
      if (error.status === 401) return this.refused();
      return notFound(error.message, "#/definitions", "All definitions");
    }
    if (this.chosen !== id) return;
    if (document.name) this.name = document.name; // an id was given
    this.base = document.spec || {};
    this.spec = structuredClone(this.base);
    nothing();
    $("definition").hidden = false;
    this.look(words);
    $("detail").focus({ preventScroll: true });
  }

  // What was deleted has its versions still.
  async stored(kind, name) {
    try {
      return await call("GET", path(kind, name));
    } catch (error) {
      if (error.status !== 404) throw error;
      await call("GET", `${path(kind, name)}/history`);
      this.gone = true;
      return { spec: {} };
    }
  }

  get kinds() {
    return this.schema.oneOf.map((each) => each.title);
  }

  // The parts that only some kinds have.
  get more() {
    return KINDS.includes(this.kind) ? ["deliveries"] : this.kind === "Agent" ? ["test"] : [];
  }

  get able() {
    return may("POST /definitions/apply");
  }

  // `words`: of the address. A change of the tab keeps what was typed.
  async look(words) {
    if (!this.spec) return;
    const wanted = new URLSearchParams(words || "").get("tab") || "";
    const before = this.tab;
    this.tab = this.gone ? "history" : ["yaml", "history", ...this.more].includes(wanted) ? wanted : "";
    const fresh = this.name === null;
    document.title = `${this.name ?? `New ${this.kind}`} · Kubiya`;
    $("definition-title").textContent = fresh ? `New ${this.kind.toLowerCase()}` : this.name;
    $("definition-status").textContent = this.gone ? "deleted" : this.kind;
    $("definition-new").hidden = !fresh || this.tab === "yaml";
    $("definition-new-kind").value = this.kind;
    for (const link of $("definition-tabs").children) {
      const tab = link.dataset.tab;
      link.href = addressOf(this.kind, this.name, tab);
      link.hidden = this.gone ? tab !== "history" : (fresh && !["", "yaml"].includes(tab)) || (["deliveries", "test"].includes(tab) && !this.more.includes(tab));
      if (tab === this.tab) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    for (const [id, tab] of [["definition-fields", ""], ["definition-yaml", "yaml"], ["definition-history", "history"], ["definition-deliveries", "deliveries"], ["definition-trials", "test"]]) $(id).hidden = tab !== this.tab;
    $("definition-save").hidden = ["history", "deliveries", "test"].includes(this.tab) || !this.able;
    $("definition-delete").hidden = fresh || this.gone;
    $("definition-may").hidden = this.able;
    this.fail("");
    try {
      if (before === "yaml" && this.text !== null && this.tab !== "yaml") await this.take();
      if (this.tab === "yaml") await this.showText();
      else if (this.tab === "history") await this.showHistory();
      else if (this.tab === "deliveries") await this.showDeliveries();
      else if (this.tab === "test") this.trials.show(this.name, this.base);
      else this.showForm();
    } catch (error) {
      this.failed(error);
    }
  }

  // -- form and text

  showForm() {
    const found = this.schema.oneOf.find((each) => each.title === this.kind);
    const { value_from: _, ...properties } = found.properties.spec.properties; // which kubiya apply reads where it runs
    const secret = this.kind === "Secret";
    if (secret) properties.value = { type: "string" };
    for (const kind of new Set(Object.values(SUGGESTED))) this.suggest(kind);
    this.form = new SchemaForm($("definition-fields"), {
      schema: { ...found.properties.spec, properties },
      inner: this.schema.$defs,
      readOnly: !this.able,
      secret: secret ? ["value"] : [],
      suggested: (name) => (SUGGESTED[name] ? `names-${SUGGESTED[name]}` : null),
    });
    this.form.fill(this.spec);
    $("definition-about").textContent = secret ? "A value is sealed, and shown to nobody again; or a source that the control plane reads at each use." : found.description;
  }

  suggest(kind) {
    const list = $(`names-${kind}`) || el("datalist", { id: `names-${kind}` });
    list.replaceChildren(...this.names(kind).map((name) => el("option", { value: name })));
    $("definition").append(list);
  }

  get document() {
    return { kind: this.kind, name: this.name ?? $("definition-name").value.trim(), spec: this.spec };
  }

  async showText() {
    const { value: _, ...spec } = this.spec;
    const { text } = await call("POST", "/definitions/write", { documents: [{ ...this.document, spec }] });
    $("definition-area").value = this.text = text;
    $("definition-area").readOnly = !this.able;
    $("definition-copy").replaceChildren(copyButton(() => $("definition-area").value, "the YAML"));
  }

  // The text becomes the document. Throws ApiError, or Error for another definition.
  async take() {
    const { documents } = await call("POST", "/definitions/read", { text: $("definition-area").value });
    const [found] = documents;
    if (documents.length !== 1) throw new Error(`This is one definition, and the text has ${documents.length}`);
    if (found.kind !== this.kind || (this.name !== null && found.name !== this.name)) throw new Error(`The text is not the ${this.kind} ${this.name ?? ""} any more: to make another one, press New`);
    Object.assign(this, { lines: found.lines, spec: found.spec || {}, text: null });
    if (this.name === null) $("definition-name").value = found.name;
  }

  // -- saving

  // Asks what would change, and shows it before anything is changed.
  async check() {
    this.fail("");
    this.form?.clearFaults();
    $("definition-save").disabled = true;
    try {
      if (this.tab === "yaml") await this.take();
      else if (this.form.broken.size) {
        this.form.showFaults([...this.form.broken].map(([field, message]) => ({ field, message })));
        return;
      }
      const { changes } = await this.apply(true);
      const [change] = changes;
      if (change.action === "unchanged") return this.fail("Nothing is changed");
      $("change-title").textContent = change.action === "created" ? `Make the ${this.kind.toLowerCase()} ${change.name}?` : `Change ${change.name}?`;
      $("change-body").replaceChildren(changesTable(change.differences));
      $("change-error").textContent = "";
      $("change").showModal();
    } catch (error) {
      this.failed(error);
    } finally {
      $("definition-save").disabled = false;
    }
  }

  apply(dry) {
    const base = this.name === null ? {} : { base: this.base };
    return call("POST", "/definitions/apply", { documents: [{ ...this.document, ...base }], dry_run: dry, source: SOURCE });
  }

  async save() {
    $("change-go").disabled = true;
    try {
      const { changes } = await this.apply(false);
      const [change] = changes;
      $("change").close();
      say("Saved");
      this.changed();
      const { name, kind, tab } = { name: change.name, kind: this.kind, tab: this.tab };
      if (this.name === name) await this.open(this.chosen, tab ? `tab=${tab}` : "");
      else location.hash = addressOf(kind, name);
      $("definition-told").textContent = change.webhook_secret ? `Saved. The webhook's secret, which is not shown again: ${change.webhook_secret}` : "Saved.";
    } catch (error) {
      $("change").close();
      this.failed(error);
    }
    $("change-go").disabled = false;
  }

  // Faults stand at their field, or at their line.
  failed(error) {
    if (error.status === 401) return this.refused();
    const problems = (error.problems || []).map(({ field, message }) => ({ field: field.replace(/^documents\.0\.?/, ""), message }));
    if (!problems.length) return this.fail(error.message);
    if (this.tab === "yaml") return this.failedText(problems);
    const inside = problems.filter(({ field }) => field.startsWith("spec.")).map(({ field, message }) => ({ field: field.slice(5), message }));
    const outside = problems.filter(({ field }) => !field.startsWith("spec."));
    const left = [...outside, ...(this.form ? this.form.showFaults(inside) : inside)];
    this.fail(left.map(({ field, message }) => (field ? `${field}: ${message}` : message)).join("; ") || "Some fields are wrong: see there.");
    if (outside.some(({ field }) => field === "name")) $("definition-name").focus();
  }

  failedText(problems) {
    const area = $("definition-area");
    const placed = problems.map(({ field, message }) => {
      const given = /^text\.(\d+)$/.exec(field);
      const line = given ? Number(given[1]) : this.line(field);
      return { line, text: `Line ${line}: ${given || !field ? "" : `${field}: `}${message}` };
    });
    this.fail(placed.map(({ text }) => text).join("; "));
    const lines = area.value.split("\n");
    const start = lines.slice(0, placed[0].line - 1).join("\n").length + (placed[0].line > 1 ? 1 : 0);
    area.focus();
    area.setSelectionRange(start, start + (lines[placed[0].line - 1] || "").length);
  }

  line(field) {
    const parts = field.split(".");
    for (; parts.length; parts.pop()) if (this.lines?.[parts.join(".")]) return this.lines[parts.join(".")];
    return 1;
  }

  fail(message) {
    $("definition-fault").textContent = message;
    $("definition-told").textContent = "";
  }

  showDeliveries() {
    const id = this.chosen;
    return this.deliveries.show(this.kind, this.name, () => this.chosen === id && this.tab === "deliveries");
  }

  // -- versions

  async showHistory() {
    const { versions } = await call("GET", `${path(this.kind, this.name)}/history`);
    const restore = may("POST /definitions/{kind}/{name}/rollback") ? (version) => this.restore(version) : null;
    $("definition-history").replaceChildren(...versionNodes(versions, restore));
  }

  async restore(version) {
    this.fail("");
    try {
      const change = await call("POST", `${path(this.kind, this.name)}/rollback`, { version });
      say("Restored");
      this.changed();
      await this.open(this.chosen, "tab=history");
      $("definition-told").textContent = change.action === "unchanged" ? "It is so already." : `It is as in version ${version} again.`;
    } catch (error) {
      this.failed(error);
    }
  }

  // -- deletion

  ask() {
    this.force = false;
    $("remove-title").textContent = `Delete the ${this.kind.toLowerCase()} ${this.name}?`;
    $("remove-text").textContent = "Its versions stay: it can be restored under History.";
    $("remove-needs").replaceChildren();
    $("remove-error").textContent = "";
    $("remove-go").textContent = "Delete";
    $("remove").showModal();
  }

  async remove() {
    $("remove-go").disabled = true;
    try {
      await call("DELETE", `${path(this.kind, this.name)}${this.force ? "?force=true" : ""}`);
      $("remove").close();
      say("Deleted");
      this.changed();
      location.hash = "#/definitions";
    } catch (error) {
      if (error.status === 401) this.refused();
      const needs = error.detail?.needed_by || [];
      $("remove-error").textContent = needs.length ? `${needs.length === 1 ? "One needs" : `${needs.length} need`} it:` : error.message;
      $("remove-needs").replaceChildren(...needs.map((each) => needNode(each, this.kinds)));
      if (needs.length) {
        this.force = true;
        $("remove-text").textContent = "End or change these first; or delete it, and have each of them ended or disabled.";
        $("remove-go").textContent = "Delete, and end these";
      }
    }
    $("remove-go").disabled = false;
  }
}

function needNode({ kind, id, name }, kinds) {
  const own = kinds.find((each) => each.toLowerCase() === kind);
  const href = OWN_PAGES[kind] ? `${OWN_PAGES[kind]}${encodeURIComponent(id)}` : own && addressOf(own, name || id);
  return el("li", {}, `${kind} `, href ? el("a", { href, onclick: () => $("remove").close() }, name || id) : name || id);
}

function path(kind, name) {
  return `/definitions/${kind}/${encodeURIComponent(name)}`;
}
