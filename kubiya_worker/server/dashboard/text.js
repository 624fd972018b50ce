// Elements and words. Everything is made of nodes and text: nothing that comes from a model or a tool is ever HTML.

export const $ = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

export function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const WORDS = {
  pending: "waiting for a worker",
  queued: "queued",
  running: "running",
  waiting_for_input: "waiting for input",
  paused: "paused",
  completed: "completed",
  failed: "failed",
  cancelled: "cancelled",
  interrupted: "interrupted",
  terminated: "terminated",
};
export const FINAL = new Set(["completed", "failed", "cancelled", "interrupted", "terminated"]);

export function statusText(status) {
  return WORDS[status] || String(status || "").replaceAll("_", " ");
}

// A kind as it stands in a sentence: "skill", "MCP server".
export function noun(kind) {
  return kind.replace(/^(?:([A-Z]+)(?=[A-Z][a-z]))?(.*)$/, (_, initials, rest) => [initials, rest.toLowerCase()].filter(Boolean).join(" "));
}

// A kind as a heading: "Skills", "MCP servers".
export function plural(kind) {
  const words = noun(kind);
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}s`;
}

export function age(iso) {
  const seconds = Math.max(0, (Date.now() - Date.parse(iso)) / 1000);
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 5) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  const days = Math.floor(seconds / 86400);
  return days < 14 ? `${days} day${days > 1 ? "s" : ""} ago` : new Date(iso).toLocaleDateString();
}

export function duration(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

// How long an execution took: from what a person or a job asked to its end, as `kubiya runs ls` has it.
export function took(execution) {
  return duration((Date.parse(execution.completed_at) - Date.parse(execution.sequel?.at || execution.created_at)) / 1000);
}

export function oneLine(text, most = 160) {
  const line = String(text || "").split(/\s+/).join(" ").trim();
  return line.length > most ? `${line.slice(0, most - 1)}…` : line;
}

// One-line values before long texts: what a call is about stands above what it carries.
function shortFirst(entries) {
  return entries.sort(([, a], [, b]) => String(a).includes("\n") - String(b).includes("\n"));
}

// Arguments of a tool on one line: the command itself where there is one.
export function summary(values) {
  if (!values || typeof values !== "object") return String(values || "");
  const command = values.command ?? values.argv;
  if (Array.isArray(command)) return command.join(" ");
  if (typeof command === "string") return command;
  const entries = Object.entries(values).filter(([, value]) => value !== null);
  if (entries.length === 1) return typeof entries[0][1] === "string" ? entries[0][1] : JSON.stringify(entries[0][1]);
  return shortFirst(entries).map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`).join(" ");
}
