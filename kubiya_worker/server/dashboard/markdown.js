// Markdown as models write it, made of nodes and text: nothing of it is ever read as HTML, and no picture is loaded but those
// that the run has made itself.

import { ansi } from "./ansi.js";
import { drawing } from "./drawing.js";
import { picture as pictureOf } from "./picture.js";
import { el } from "./text.js";

const ROWS = 100; // of a table, items of a list: what is more is shown when it is asked for
const PIECES = 800; // of a paragraph; what follows is plain
const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const RULE = /^ {0,3}([-*_])( *\1){2,} *$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/;
const QUOTE = /^ {0,3}> ?/;
const DIVIDER = /^ {0,3}\|? *:?-+:? *(\| *:?-+:? *)*\|? *$/;

// The blocks of a text, each with the place where it begins. When more text comes, only the last two can change: the
// line that a block begins with may turn out to belong to the list before it.
export function blocks(text) {
  const lines = text.split("\n");
  const starts = [];
  let offset = 0;
  for (const line of lines) {
    starts.push(offset);
    offset += line.length + 1;
  }
  const found = [];
  for (let at = 0; at < lines.length; ) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const block = blockAt(lines, at);
    found.push({ ...block, start: starts[at] });
    at = block.next;
  }
  return found;
}

function blockAt(lines, at) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) {
    let next = at + 1;
    while (next < lines.length && !(lines[next].trim().startsWith(fence[1]) && !lines[next].trim().replaceAll(fence[1][0], ""))) next += 1;
    return { kind: "code", language: fence[2], text: lines.slice(at + 1, next).join("\n"), next: next + 1 };
  }
  const heading = HEADING.exec(line);
  if (heading) return { kind: "heading", level: heading[1].length, text: heading[2], next: at + 1 };
  if (RULE.test(line)) return { kind: "rule", next: at + 1 };
  if (QUOTE.test(line)) {
    const next = whileTrue(lines, at, (each) => QUOTE.test(each));
    return { kind: "quote", text: lines.slice(at, next).map((each) => each.replace(QUOTE, "")).join("\n"), next };
  }
  if (line.includes("|") && DIVIDER.test(lines[at + 1] ?? "") && lines[at + 1].includes("-")) {
    const next = whileTrue(lines, at + 2, (each) => each.includes("|") && each.trim());
    return { kind: "table", head: cells(line), rows: lines.slice(at + 2, next).map(cells), align: cells(lines[at + 1]), next };
  }
  if (ITEM.test(line)) {
    const next = endOfList(lines, at);
    return { kind: "list", lines: lines.slice(at, next), next };
  }
  const next = whileTrue(lines, at + 1, (each, index) => each.trim() && !begins(lines, index));
  return { kind: "text", text: lines.slice(at, next).join("\n"), next };
}

function whileTrue(lines, from, test) {
  let next = from;
  while (next < lines.length && test(lines[next], next)) next += 1;
  return next;
}

// Whether something that is no paragraph begins in this line.
function begins(lines, at) {
  const line = lines[at];
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line) || (line.includes("|") && DIVIDER.test(lines[at + 1] ?? ""));
}

// A list goes on over empty lines while items or indented lines follow.
function endOfList(lines, at) {
  const [, indent, mark] = ITEM.exec(lines[at]);
  const ordered = /\d/.test(mark);
  let end = at + 1;
  for (let next = end; next < lines.length; next += 1) {
    if (!lines[next].trim()) continue;
    const item = ITEM.exec(lines[next]);
    if (item && item[1].length <= indent.length + 1 && /\d/.test(item[2]) !== ordered) break; // another list
    const follows = item || /^ {2,}/.test(lines[next]);
    const continues = next === end && !begins(lines, next);
    if (!follows && !continues) break;
    end = next + 1;
  }
  return end;
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

// The node of one block.
export function node(block) {
  if (block.kind === "code") return code(block);
  if (block.kind === "heading") return el("p", { class: "prose heading", "data-level": block.level }, el("strong", {}, ...inline(block.text)));
  if (block.kind === "rule") return el("hr");
  if (block.kind === "quote") return el("blockquote", {}, ...blocks(block.text).slice(0, ROWS).map(node));
  if (block.kind === "table") return table(block);
  if (block.kind === "list") return list(block.lines);
  return el("p", { class: "prose" }, ...inline(block.text));
}

function code(block) {
  const picture = block.language === "mermaid" ? drawing(block.text) : null;
  if (picture) return picture;
  return el("pre", { class: "code", tabindex: "0", "aria-label": block.language ? `Code: ${block.language}` : "Code" }, ansi(block.text));
}

function table(block) {
  const align = block.align.map((cell) => (/^:.*:$/.test(cell) ? "center" : cell.endsWith(":") ? "right" : null));
  const row = (tag, values) => el("tr", {}, ...values.slice(0, 50).map((value, index) => el(tag, { "data-align": align[index] }, ...inline(value))));
  const body = el("tbody", {}, ...block.rows.slice(0, ROWS).map((values) => row("td", values)));
  const made = el("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Table" }, el("table", {}, el("thead", {}, row("th", block.head)), body));
  return more(made, block.rows.slice(ROWS), (values) => row("td", values), body, "rows");
}

// `made`, with a button for what is left of it.
function more(made, left, make, target, words) {
  if (!left.length) return made;
  const button = el("button", { type: "button", class: "quiet small" }, `Show ${left.length.toLocaleString("en")} more ${words}`);
  button.addEventListener("click", () => {
    target.append(...left.map(make));
    button.remove();
  });
  return el("div", {}, made, button);
}

function list(lines) {
  const items = [];
  const first = ITEM.exec(lines[0]);
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (item && item[1].length <= first[1].length + 1) items.push([item[3]]);
    else items.at(-1).push(line.replace(/^ {1,4}/, ""));
  }
  const ordered = /\d/.test(first[2]);
  const make = (inner) => el("li", {}, ...itemNodes(inner.join("\n").trimEnd()));
  const start = ordered && parseInt(first[2], 10) !== 1 ? String(parseInt(first[2], 10)) : null;
  const made = el(ordered ? "ol" : "ul", { class: "md", start }, ...items.slice(0, ROWS).map(make));
  return more(made, items.slice(ROWS), make, made, "items");
}

function itemNodes(text) {
  const task = /^\[([ xX])\] /.exec(text);
  const found = blocks(task ? text.slice(4) : text);
  const nodes = found.length === 1 && found[0].kind === "text" ? [el("span", { class: "prose" }, ...inline(found[0].text))] : found.map(node);
  return task ? [task[1] === " " ? "☐ " : "☑ ", ...nodes] : nodes;
}

// -- what stands within a line. Each piece has a longest length: text of strangers must not make the search slow.

const INLINE = new RegExp(
  [
    "\\\\([\\\\`*_{}\\[\\]()#+.!|~>-])", // 1 an escaped sign
    "(`{1,3})(?!`)([^\\n]{1,1000}?)(?<!`)\\2(?!`)", // 2, 3 code
    "(!?)\\[([^\\[\\]\\n]{0,300})\\]\\(<?([^()\\s<>]{1,1000})>?(?: \"[^\"\\n]{0,200}\")?\\)", // 4, 5, 6 a link or a picture
    "<?(https?://[^\\s<>\"'`|\\\\]{1,1000})>?", // 7 an address
    "(\\*\\*|__)(?=\\S)([^\\n]{1,1000}?\\S)\\8", // 8, 9 strong; the sign before the end may be anything but a space
    "(?<![\\w*])(\\*|_)(?=[^\\s*_])([^\\n*]{1,1000}?)(?<=\\S)\\10(?![\\w*])", // 10, 11 emphasis
    "~~(?=\\S)([^\\n~]{1,1000})~~", // 12 struck out
  ].join("|"),
  "g",
);

export function inline(text, deep = 0) {
  const found = [];
  let last = 0;
  for (const match of text.matchAll(INLINE)) {
    if (found.length > PIECES) break;
    const [all, escaped, , coded, picture, label, target, address, , strong, , emphasis, struck] = match;
    const within = (words) => (deep < 4 ? inline(words, deep + 1) : [words]);
    if (match.index > last) found.push(text.slice(last, match.index));
    if (escaped !== undefined) found.push(escaped);
    else if (coded !== undefined) found.push(el("code", {}, coded.replace(/^ (.+) $/, "$1")));
    else if (target !== undefined) found.push((picture && pictureOf(target, label)) || link(target, picture ? [`picture: ${label || target}`] : within(label || target), all));
    else if (address !== undefined) {
      const clean = address.replace(/[.,;:!?)\]*_~]+$/, "");
      found.push(link(clean, [clean], clean));
      last = match.index + all.indexOf(clean) + clean.length;
      if (all.startsWith("<") && all.endsWith(">")) last = match.index + all.length;
      else if (all.startsWith("<")) found.splice(-1, 0, "<");
      const rest = text.slice(last, match.index + all.length);
      if (rest) found.push(rest);
    } else if (strong !== undefined) found.push(el("strong", {}, ...within(strong)));
    else if (emphasis !== undefined) found.push(el("em", {}, ...within(emphasis)));
    else found.push(el("s", {}, ...within(struck)));
    last = match.index + all.length;
  }
  if (last < text.length) found.push(text.slice(last));
  return found;
}

// Only addresses that open a page or a letter; what else there may be (javascript:, data:, file:) stays as it was typed.
function link(target, children, asTyped) {
  if (!/^(https?:\/\/|mailto:)/i.test(target)) return asTyped;
  return el("a", { href: target, target: "_blank", rel: "noopener noreferrer nofollow", title: target }, ...children);
}
