// One definition: a form and YAML of the same document, what a change changes, its versions, and its deletion.

import { call } from "./api.js";
import { addressOf, schema } from "./definitions.js";
import { Deliveries, KINDS } from "./deliveries.js";
import { late, notFound, nothing, say } from "./frame.js";
import { copyButton } from "./output.js";
import { here } from "./place.js";
import { may } from "./rights.js";
import { SchemaForm } from "./schemaform.js";
import { Trials, TRIED } from "./trials.js";
import { $, el, noun } from "./text.js";
import { changesTable, versionNodes } from "./versions.js";

const SUGGESTED = { agent: "Agent", team: "Team", environment: "Environment", environment_name: "Environment", worker_queue_name: "Queue", leader_id: "Agent", ref: "Skill", model_id: "Model" };
const OWN_PAGES = { execution: "#/executions/", job: "#/jobs/", approval: "#/inbox/" };
const PARTS = ["Skill", "MCPServer"]; // which are taken out of whoever names them
const SOURCE = "page"; // the set of what is made here: no file's --prune looks at it

export class Definition {
  // `refused()`: the key is not known any more. `changed()`: the list is to be asked again. `names(kind)`: all names.
  constructor({ refused, changed, names }) {
    Object.assign(this, { refused, changed, names, chosen: null, tab: "", telling: null });
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
    $("definition-fields").replaceChildren(); // a secret may stand there
    $("definition").hidden = true;
  }

  async open(id, words) {
    const cut = id.indexOf("/");
    const [kind, name] = cut < 0 ? [id, null] : [id.slice(0, cut), id.slice(cut + 1)];
    Object.assign(this, { chosen: id, kind, name, gone: false, lines: null, text: null });
    const told = this.telling?.id === id ? this.telling.words : "";
    this.telling = null;
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
    $("definition-told").textContent = told;
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
    return KINDS.includes(this.kind) ? ["deliveries"] : TRIED.includes(this.kind) ? ["test"] : [];
  }

  // The schema of this kind.
  get ofKind() {
    return this.schema.oneOf.find((each) => each.title === this.kind);
  }

  get about() {
    return this.kind === "Secret" ? "A value is sealed, and shown to nobody again; or a source that the control plane reads at each use." : this.ofKind.description.replaceAll("`", "");
  }

  get able() {
    return may("POST /definitions/apply");
  }

  // `words`: of the address. A change of the tab keeps what was typed.
  async look(words) {
    if (!this.spec) return;
    const on = here();
    const wanted = new URLSearchParams(words || "").get("tab") || "";
    const tab = this.gone ? "history" : ["yaml", "history", ...this.more].includes(wanted) ? wanted : "";
    if (this.tab === "yaml" && this.text !== null && tab !== "yaml" && !(await this.left(on))) return;
    this.tab = tab;
    const fresh = this.name === null;
    document.title = `${this.name ?? `New ${noun(this.kind)}`} · Kubiya`;
    $("definition-title").textContent = fresh ? `New ${noun(this.kind)}` : this.name;
    $("definition-status").textContent = this.gone ? "deleted" : title(this.kind);
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
    $("definition-about").textContent = this.about;
    this.fail("");
    try {
      if (this.tab === "yaml") await this.showText();
      else if (this.tab === "history") await this.showHistory();
      else if (this.tab === "deliveries") await this.showDeliveries();
      else if (this.tab === "test") this.trials.show(this.kind, this.name, this.base);
      else this.showForm();
    } catch (error) {
      if (on.still()) this.failed(error);
    }
  }

  // The text is left for another tab, if it can be read; else it stays, and says why. Returns whether to go on.
  async left(on) {
    const { chosen } = this;
    try {
      await this.take();
      this.text = null;
      return on.still() && this.chosen === chosen;
    } catch (error) {
      if (!on.still()) return false;
      history.replaceState(null, "", addressOf(this.kind, this.name, "yaml"));
      this.failed(error);
      return false;
    }
  }

  // -- form and text

  showForm() {
    const found = this.ofKind;
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
    const on = here();
    $("definition-copy").replaceChildren();
    Object.assign($("definition-area"), { value: "", readOnly: true, placeholder: "Loading …" });
    const { text } = await call("POST", "/definitions/write", { documents: [{ ...this.document, spec }] });
    if (!on.still() || this.tab !== "yaml") return;
    $("definition-area").value = this.text = text;
    $("definition-area").readOnly = !this.able;
    $("definition-copy").replaceChildren(copyButton(() => $("definition-area").value, "the YAML"));
  }

  // The text becomes the document. Throws ApiError, or Error for another definition.
  async take() {
    const { documents } = await call("POST", "/definitions/read", { text: $("definition-area").value });
    const [found] = documents;
    if (documents.length !== 1) throw new Error(`This is one definition, and the text has ${documents.length}`);
    if (found.kind !== this.kind || (this.name !== null && found.name !== this.name)) throw new Error(`The text is not the ${noun(this.kind)} ${this.name ?? ""} any more: to make another one, press New`);
    Object.assign(this, { lines: found.lines, spec: found.spec || {} });
    if (this.name === null) $("definition-name").value = found.name;
  }

  // -- saving

  // Asks what would change, and shows it before anything is changed.
  async check() {
    this.fail("");
    this.form?.clearFaults();
    const on = here();
    $("definition-save").disabled = true;
    try {
      if (this.tab === "yaml") await this.take();
      else if (this.form.broken.size) {
        this.form.showFaults([...this.form.broken].map(([field, message]) => ({ field, message })));
        return;
      }
      const { changes } = await this.apply(true);
      if (!on.still()) return; // nothing was changed
      const [change] = changes;
      if (change.action === "unchanged") return this.fail("Nothing is changed");
      $("change-title").textContent = change.action === "created" ? `Make the ${noun(this.kind)} ${change.name}?` : `Change ${change.name}?`;
      $("change-body").replaceChildren(changesTable(change.differences));
      $("change-error").textContent = "";
      $("change").showModal();
    } catch (error) {
      if (on.still()) this.failed(error);
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
    const on = here($("change"));
    const { name, kind, tab } = this;
    try {
      const { changes } = await this.apply(false);
      const [change] = changes;
      say("Saved");
      this.changed();
      const secret = change.webhook_secret ? ` The webhook's secret, which is not shown again: ${change.webhook_secret}` : "";
      if (on.still()) this.telling = { id: `${kind}/${change.name}`, words: `Saved.${secret}` };
      if (name === null) $("definition-name").value = "";
      if (!on.still() || name !== change.name) on.go(addressOf(kind, change.name), `${kind} ${change.name} was saved.${secret}`);
      else {
        $("change").close();
        await this.open(this.chosen, tab ? `tab=${tab}` : "");
      }
    } catch (error) {
      on.failed(error, `The ${noun(kind)} was not saved`, () => {
        $("change").close();
        this.failed(error);
      });
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
    const on = here();
    const { versions } = await call("GET", `${path(this.kind, this.name)}/history`);
    if (!on.still()) return;
    const restore = may("POST /definitions/{kind}/{name}/rollback") ? (version) => this.restore(version) : null;
    $("definition-history").replaceChildren(...versionNodes(versions, restore));
  }

  async restore(version) {
    this.fail("");
    const on = here();
    try {
      const change = await call("POST", `${path(this.kind, this.name)}/rollback`, { version });
      say("Restored");
      this.changed();
      const words = change.action === "unchanged" ? "It is so already." : `It is as in version ${version} again.`;
      if (!on.still()) return late(words);
      this.telling = { id: this.chosen, words };
      await this.open(this.chosen, "tab=history");
    } catch (error) {
      on.failed(error, "The version was not restored", () => this.failed(error));
    }
  }

  // -- deletion

  ask() {
    this.force = false;
    $("remove-title").textContent = `Delete the ${noun(this.kind)} ${this.name}?`;
    $("remove-text").textContent = "Its versions stay: it can be restored under History.";
    $("remove-needs").replaceChildren();
    $("remove-error").textContent = "";
    $("remove-go").textContent = "Delete";
    $("remove").showModal();
  }

  async remove() {
    $("remove-go").disabled = true;
    const on = here($("remove"));
    try {
      await call("DELETE", `${path(this.kind, this.name)}${this.force ? "?force=true" : ""}`);
      say("Deleted");
      this.changed();
      on.go("#/definitions", "The definition was deleted.");
    } catch (error) {
      if (error.status === 401) this.refused();
      else on.failed(error, "The definition was not deleted", (message) => this.kept(message, error.detail?.needed_by || []));
    }
    $("remove-go").disabled = false;
  }

  // It is not deleted, because others need it, or for what the message says.
  kept(message, needs) {
    $("remove-error").textContent = needs.length ? `${needs.length === 1 ? "One needs" : `${needs.length} need`} it:` : message;
    $("remove-needs").replaceChildren(...needs.map((each) => needNode(each, this.kinds)));
    if (!needs.length) return;
    this.force = true;
    [$("remove-text").textContent, $("remove-go").textContent] = forced(this.kind);
  }
}

// What a deletion by force does to those that need the object, and the word for it on the button.
function forced(kind) {
  if (kind === "Model") return ["Have these name another one first; or delete it: they go on naming it, and only a worker that has such a model itself can run them.", "Delete it anyway"];
  if (PARTS.includes(kind)) return ["Take it out of these first; or delete it, and have it taken out of each of them.", "Delete, and take it out"];
  return ["End or change these first; or delete it, and have each of them ended or disabled.", "Delete, and end these"];
}

function title(kind) {
  const words = noun(kind);
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function needNode({ kind, id, name }, kinds) {
  const own = kinds.find((each) => each.toLowerCase() === kind);
  const href = OWN_PAGES[kind] ? `${OWN_PAGES[kind]}${encodeURIComponent(id)}` : own && addressOf(own, name || id);
  return el("li", {}, `${kind} `, href ? el("a", { href, onclick: () => $("remove").close() }, name || id) : name || id);
}

function path(kind, name) {
  return `/definitions/${kind}/${encodeURIComponent(name)}`;
}
