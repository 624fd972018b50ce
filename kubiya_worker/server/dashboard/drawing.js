// Diagrams of the skill data_visualization: Mermaid text as a picture, for the kinds that this page can draw. The text
// stands below each picture, and alone where it cannot be drawn. It is only read: nothing of it becomes HTML or code.

import { bars, pie, quadrant } from "./charts.js";
import { graph, sequence } from "./graphs.js";
import { copyButton } from "./output.js";
import { el } from "./text.js";

const LONGEST = 50_000; // characters that are looked at
const FENCED = /^\s*```mermaid[ \t]*\n([\s\S]*?)\n?```\s*$/;

const KINDS = [
  [/^pie\b/, pie],
  [/^quadrantChart$/, quadrant],
  [/^gantt$/, bars],
  [/^journey$/, bars],
  [/^(flowchart|graph)\b/, graph],
  [/^stateDiagram(-v2)?$/, graph],
  [/^classDiagram(-v2)?$/, graph],
  [/^erDiagram$/, graph],
  [/^sequenceDiagram$/, sequence],
];

// The diagram in a tool's output; null if it is none.
export function fenced(text) {
  return FENCED.exec(text)?.[1] ?? null;
}

// A figure for Mermaid text; null where the page cannot draw it.
export function drawing(text) {
  if (text.length > LONGEST) return null;
  const { title, lines } = read(text);
  const draw = lines.length ? KINDS.find(([first]) => first.test(lines[0]))?.[1] : null;
  let picture = null;
  try {
    picture = draw?.(lines, title);
  } catch {
    // A text that the check of the skill let through and these readers do not understand: it is shown as it is.
  }
  if (!picture) return null;
  const name = picture.title || "Diagram";
  picture.svg.setAttribute("role", "img");
  picture.svg.setAttribute("aria-label", [name, ...(picture.told || [])].join(". "));
  const source = el("details", { class: "part" }, el("summary", {}, "As text"), el("pre", { class: "code", tabindex: "0", "aria-label": `Text of: ${name}` }, text), copyButton(() => text, name));
  return el("figure", { class: "drawing" }, picture.title ? el("figcaption", {}, picture.title) : null, el("div", { class: "canvas", role: "region", tabindex: "0", "aria-label": name }, picture.svg), picture.legend || null, source);
}

// The lines that draw: without front matter, comments and empty ones; and the title, wherever it stands.
function read(text) {
  const front = /^---\n([\s\S]*?)\n---\n/.exec(text);
  let title = front ? (/^title:\s*"?(.*?)"?\s*$/m.exec(front[1])?.[1] || "").replaceAll('\\"', '"').replaceAll("\\\\", "\\") : "";
  const lines = [];
  for (const raw of (front ? text.slice(front[0].length) : text).split("\n")) {
    const line = raw.trim().replace(/;$/, "");
    if (!line || line.startsWith("%%")) continue;
    const found = /^(?:pie.*\s)?title\s+(.+)$/.exec(line);
    if (found && !title) title = found[1];
    if (found && !line.startsWith("pie")) continue;
    lines.push(line);
  }
  return { title, lines };
}
