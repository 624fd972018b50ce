// Long texts: their beginning and their end are shown, all of it can be copied and downloaded.

import { ansi, withoutAnsi } from "./ansi.js";
import { say } from "./frame.js";
import { el } from "./text.js";

const WHOLE = 16_000; // characters that are shown without a cut
const HEAD = 8_000;
const TAIL = 4_000;
const STEP = 50_000; // more of it, at each press

export function size(characters) {
  if (characters < 1000) return `${characters} characters`;
  return characters < 1e6 ? `${Math.round(characters / 1000)} kB` : `${(characters / 1e6).toFixed(1)} MB`;
}

// `label`: what it is, for screen readers; `name`: of the file; `plain`: escape sequences are shown as they are.
export function output(text, { label = "Output", name = "output.txt", bad = false, plain = false } = {}) {
  const pre = (part, what) => el("pre", { class: bad ? "output bad" : "output", tabindex: "0", "aria-label": what }, plain ? part : ansi(part));
  const buttons = el("div", { class: "pick" }, copyButton(() => (plain ? text : withoutAnsi(text)), label), text.length > HEAD ? downloadButton(() => text, name) : null);
  if (text.length <= WHOLE) return el("div", { class: "long" }, pre(text, label), buttons);
  let shown = lineEnd(text, HEAD);
  const tail = lineEnd(text, text.length - TAIL);
  const head = pre(text.slice(0, shown), `${label}, its beginning`);
  const words = el("span", {});
  const button = el("button", { type: "button", class: "quiet small" }, "Show more");
  const bar = el("p", { class: "gap" }, words, button);
  const told = () => (words.textContent = `… ${size(tail - shown)} of ${size(text.length)} not shown …`);
  button.addEventListener("click", () => {
    const next = Math.min(tail, lineEnd(text, shown + STEP));
    head.append(text.slice(shown, next));
    shown = next;
    if (shown >= tail) bar.remove();
    else told();
  });
  told();
  return el("div", { class: "long" }, head, bar, pre(text.slice(tail), `${label}, its end`), buttons);
}

// The place behind the end of the line, if the line is not too long.
export function lineEnd(text, at) {
  const end = text.indexOf("\n", at);
  return end < 0 || end - at > 500 ? at : end + 1;
}

export function copyButton(text, label) {
  const button = el("button", { type: "button", class: "quiet small", "aria-label": `Copy: ${label}` }, "Copy");
  button.addEventListener("click", async () => {
    button.textContent = (await copied(text())) ? "Copied" : "Not copied";
    say(button.textContent);
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return button;
}

// Browsers have a clipboard only on HTTPS and on this host; elsewhere the old way still works.
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = el("textarea", { class: "unseen", "aria-hidden": "true" });
    area.value = text;
    (document.querySelector("dialog[open]") || document.body).append(area);
    const before = document.activeElement;
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus({ preventScroll: true });
    return done;
  }
}

export function downloadButton(text, name, words = "Download") {
  return el("button", { type: "button", class: "quiet small", onclick: () => download([text()], name) }, words);
}

export function download(parts, name, type = "text/plain;charset=utf-8") {
  const address = URL.createObjectURL(new Blob(parts, { type }));
  const link = el("a", { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// Arguments one by one: what a person reads before saying yes. One-line values stand above long texts.
export function argumentList(values) {
  const list = el("dl", { class: "arguments" });
  const entries = values && typeof values === "object" ? Object.entries(values) : [["arguments", values]];
  for (const [name, value] of entries.sort(([, a], [, b]) => String(a).includes("\n") - String(b).includes("\n"))) {
    const text = (typeof value === "string" ? value : JSON.stringify(value, null, 2)) ?? "";
    const shown = text.length > WHOLE ? output(text, { label: name, name: `${name}.txt`, plain: true }) : el("pre", { tabindex: "0", "aria-label": name }, text);
    list.append(el("dt", {}, name), el("dd", {}, shown));
  }
  return list;
}
