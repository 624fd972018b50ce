// A form made of a JSON schema: the one that definition files have. What is left empty is not said, and has its default.

import { el } from "./text.js";

const LONG = /prompt|template|description|instructions/; // names of texts with several lines
const LABELS = {
  args: "Arguments",
  call_timeout: "Timeout of a call in seconds",
  cwd: "Working folder",
  env: "Environment variables",
  envFile: "Environment file",
  env_vars: "Environment variables",
  environment_ids: "Environments",
  environment_name: "Environment",
  excludeTools: "Tools left out",
  grants: "Granted access",
  leader_id: "Leader",
  llm: "Model settings",
  llm_config: "Model settings",
  max_call_timeout: "Longest timeout of a call in seconds",
  member_ids: "Members",
  model_id: "Model",
  read_paths: "Folders to read",
  ref: "Stored skill",
  timeout: "Timeout in seconds",
  worker_queue_name: "Worker queue",
  working_dir: "Working folder",
  write_paths: "Folders to write",
};
const INITIALS = { api: "API", hmac: "HMAC", http: "HTTP", id: "ID", ids: "IDs", ip: "IP", json: "JSON", llm: "LLM", mcp: "MCP", oauth: "OAuth", sse: "SSE", ttl: "TTL", uri: "URI", url: "URL", urls: "URLs" };

export class SchemaForm {
  // `schema`: of an object; `inner`: its $defs; `suggested(name)`: id of a datalist for a field, or null; `changed()`.
  constructor(root, { schema, inner, suggested = () => null, readOnly = false, secret = [], changed = () => {} }) {
    Object.assign(this, { root, schema, inner, suggested, readOnly, secret, changed });
    this.broken = new Map(); // path -> what cannot be read in it
  }

  // Shows a value, which is changed by what a person does.
  fill(value) {
    this.value = value;
    this.broken.clear();
    this.root.replaceChildren(...this.fields("", this.schema, value));
  }

  // The schema behind references and the null that every field may be.
  plain(schema) {
    if (schema.$ref) return this.plain(this.inner[schema.$ref.split("/").pop()] || {});
    const some = (schema.anyOf || []).filter((one) => one.type !== "null");
    const known = some.filter((one) => one.const !== undefined);
    const fixed = some.find((one) => one.enum);
    if (fixed && some.every((one) => one.enum || one.type === "boolean")) return this.plain(fixed);
    if (known.length) return { enum: known.map((one) => one.const), about: Object.fromEntries(known.map((one) => [one.const, one.description])) };
    return some.length === 1 ? this.plain(some[0]) : some.length ? { type: "any" } : schema;
  }

  // The schema of a list's items. Where a name may stand for an object, as in skills, it is the object's.
  item(schema) {
    const some = (schema.items?.anyOf || []).map((one) => this.plain(one)).filter((one) => one.properties);
    return some.length === 1 ? some[0] : this.plain(schema.items || {});
  }

  kind(schema) {
    if (schema.enum) return "choice";
    if (schema.type === "string") return "text";
    if (schema.type === "boolean") return "yes";
    if (schema.type === "integer" || schema.type === "number") return "number";
    const items = schema.type === "array" ? this.item(schema) : null;
    if (items?.type === "string") return "lines";
    if (items?.properties) return "list";
    return schema.properties ? "group" : "json";
  }

  fields(path, schema, value) {
    const required = new Set(schema.required || []);
    const found = Object.entries(schema.properties || {}).filter(([, field]) => !field.deprecated);
    // The schema has the fields in the order in which people need them.
    const ordered = [...found.filter(([name]) => required.has(name)), ...found.filter(([name]) => !required.has(name))];
    return ordered.map(([name, field]) => {
      const plain = this.plain(field);
      const set = (given) => {
        if (given === undefined) delete value[name];
        else value[name] = given;
        this.changed();
      };
      const about = (field.description || "").replaceAll("`", "");
      return this.field(path ? `${path}.${name}` : name, name, plain, value[name], set, required.has(name), about);
    });
  }

  field(path, name, schema, value, set, required, about) {
    const kind = this.kind(schema);
    if (kind === "group") return this.group(path, name, schema, value, set, about);
    if (kind === "list") return this.list(path, name, this.item(schema), value, set, about);
    const id = `field-${path}`;
    const control = this.control(path, name, schema, kind, value, set, required);
    control.id = id;
    control.required = required;
    if (this.readOnly) control.disabled = true;
    control.setAttribute("aria-describedby", `${id}-help ${id}-fault`);
    const help = el("p", { class: "help", id: `${id}-help`, role: schema.about ? "status" : null }, about);
    if (schema.about) {
      const tell = () => (help.textContent = schema.about[control.value] || (control.value ? "A type that this page does not know." : about));
      control.addEventListener("change", tell);
      tell();
    }
    return el("div", { class: "field", "data-path": path }, el("label", { for: id }, words(name)), control, help, el("p", { class: "error", id: `${id}-fault` }));
  }

  control(path, name, schema, kind, value, set, required) {
    const text = value === undefined || value === null ? "" : String(value);
    if (kind === "choice" || kind === "yes") {
      const options = kind === "yes" ? [["true", "yes"], ["false", "no"]] : schema.enum.map((word) => [word, word]);
      const select = el("select", {}, el("option", { value: "" }, required ? "choose one" : "as by default"), ...options.map(([key, word]) => el("option", { value: key }, word)));
      if (text && !options.some(([key]) => key === text)) select.append(el("option", { value: text }, text));
      select.value = text;
      select.addEventListener("change", () => set(select.value === "" ? undefined : kind === "yes" ? select.value === "true" : select.value));
      return select;
    }
    if (kind === "number") {
      const input = el("input", { type: "number", step: schema.type === "integer" ? "1" : "any", value: text });
      input.addEventListener("input", () => set(input.value === "" ? undefined : Number(input.value)));
      return input;
    }
    if (kind === "lines") {
      const area = el("textarea", { rows: "2", placeholder: "One for each line", spellcheck: "false" });
      area.value = (value || []).join("\n");
      area.addEventListener("input", () => {
        const lines = area.value.split("\n").map((line) => line.trim()).filter(Boolean);
        set(lines.length ? lines : undefined);
      });
      return area;
    }
    if (kind === "json") return this.json(path, value, set);
    if (LONG.test(name)) {
      const area = el("textarea", { rows: name === "description" ? "2" : "6" });
      area.value = text;
      area.addEventListener("input", () => set(area.value === "" ? undefined : area.value));
      return area;
    }
    const hidden = this.secret.includes(path);
    const input = el("input", { type: hidden ? "password" : "text", value: text, autocomplete: hidden ? "new-password" : "off", spellcheck: "false", list: this.suggested(name) });
    input.addEventListener("input", () => set(input.value === "" ? undefined : input.value));
    return input;
  }

  // What has no fixed fields, such as the configuration of a skill.
  json(path, value, set) {
    const area = el("textarea", { rows: "4", class: "code", placeholder: "JSON", spellcheck: "false" });
    area.value = value === undefined ? "" : JSON.stringify(value, null, 2);
    area.addEventListener("input", () => {
      this.broken.delete(path);
      if (!area.value.trim()) return set(undefined);
      try {
        set(JSON.parse(area.value));
      } catch (error) {
        this.broken.set(path, `This is not JSON: ${error.message}`);
      }
    });
    return area;
  }

  group(path, name, schema, value, set, about) {
    const inside = value && typeof value === "object" ? value : {};
    const body = el("div", { class: "fields" });
    // An object that nobody has filled in is not said at all.
    const watch = () => set(Object.keys(inside).length ? inside : undefined);
    body.addEventListener("input", watch);
    body.addEventListener("change", watch);
    body.append(...this.fields(path, schema, inside));
    return el("details", { class: "group", "data-path": path, open: Object.keys(inside).length > 0 }, el("summary", {}, words(name)), helpOf(about), body);
  }

  list(path, name, schema, value, set, about) {
    const items = Array.isArray(value) ? value : [];
    items.forEach((item, number) => typeof item === "string" && (items[number] = { ref: item }));
    const rows = el("div", { class: "fields" });
    const told = () => set(items.length ? items : undefined);
    const draw = () => rows.replaceChildren(...items.map((item, number) => {
      const remove = () => {
        items.splice(number, 1);
        told();
        draw();
        add.focus();
      };
      const label = item.name || item.ref || item.type || `${words(name)} ${number + 1}`;
      const button = this.readOnly ? null : el("button", { type: "button", class: "small", "aria-label": `Remove: ${label}`, onclick: remove }, "Remove");
      const body = el("div", { class: "fields" }, ...this.fields(`${path}.${number}`, schema, item));
      return el("fieldset", { class: "group", "data-path": `${path}.${number}` }, el("legend", {}, label), body, button);
    }));
    const add = el("button", { type: "button", class: "small", hidden: this.readOnly }, `Add to ${words(name).toLowerCase()}`);
    add.addEventListener("click", () => {
      items.push({});
      told();
      draw();
      rows.lastChild.querySelector("input, select, textarea")?.focus();
    });
    rows.addEventListener("input", told);
    draw();
    return el("details", { class: "group", "data-path": path, open: items.length > 0 }, el("summary", {}, words(name)), helpOf(about), rows, add);
  }

  // -- faults

  clearFaults() {
    for (const fault of this.root.querySelectorAll(".field > .error")) fault.textContent = "";
    for (const control of this.root.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
  }

  // Shows [{field, message}] at their fields, or at what is around them. Returns those that have no place.
  showFaults(faults) {
    this.clearFaults();
    let first = null;
    const left = faults.filter(({ field, message }) => {
      const found = this.around(field);
      if (!found) return true;
      for (let each = found.parentElement; each && each !== this.root; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
      const inner = field.slice(found.dataset.path.length + 1);
      const fault = found.querySelector(".error");
      fault.textContent = [fault.textContent, inner ? `${inner}: ${message}` : message].filter(Boolean).join("; ");
      const control = found.querySelector("input, select, textarea");
      control.setAttribute("aria-invalid", "true");
      first ??= control;
      return false;
    });
    first?.focus();
    return left;
  }

  around(path) {
    const parts = path.split(".");
    for (; parts.length; parts.pop()) {
      const found = [...this.root.querySelectorAll(".field")].find((each) => each.dataset.path === parts.join("."));
      if (found) return found;
    }
    return null;
  }
}

function helpOf(about) {
  return about ? el("p", { class: "help" }, about) : null;
}

// A field's name as words: `mcpServers` and `mcp_servers` are "MCP servers".
function words(name) {
  if (LABELS[name]) return LABELS[name];
  const apart = name.replace(/_(seconds|minutes)$/, "_in_$1").replace(/([a-z])([A-Z])/g, "$1_$2").toLowerCase().split("_").map((word) => INITIALS[word] || word);
  const text = apart.join(" ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
