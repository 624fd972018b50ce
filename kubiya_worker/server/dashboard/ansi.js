// Output of a terminal as nodes: colours and weights of its escape sequences; all other sequences are left out.

import { el } from "./text.js";

const MOST = 300; // pieces; what follows is plain
// CSI with its ending, OSC up to its end, and the short ones.
const SEQUENCE = /\x1b(?:\[([0-9;:?<=>]*)[ -/]*([@-~])|\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)|[()*+][0-9A-Za-z]|[@-Z\\^_=>78cDEHMNOZ])/g;
const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

// Text as a terminal would leave it: a line that is written over (a progress bar) shows its last state.
function overwritten(text) {
  if (!text.includes("\r")) return text;
  return text.replaceAll("\r\n", "\n").replace(/[^\n]*\r(?=[^\n])/g, "").replaceAll("\r", "");
}

// A text, or a fragment where there is something to colour.
export function ansi(text) {
  text = overwritten(text);
  if (!text.includes("\x1b")) return text;
  const out = document.createDocumentFragment();
  let style = {};
  let last = 0;
  const add = (piece) => {
    if (!piece) return;
    const classes = classesOf(style);
    out.append(classes && out.childNodes.length < MOST ? el("span", { class: classes }, piece) : piece);
  };
  for (const match of text.matchAll(SEQUENCE)) {
    add(text.slice(last, match.index));
    last = match.index + match[0].length;
    if (match[2] === "m") style = changed(style, match[1]);
  }
  add(text.slice(last));
  out.normalize();
  return out;
}

export function withoutAnsi(text) {
  return overwritten(text).replace(SEQUENCE, "");
}

function changed(style, codes) {
  const next = { ...style };
  const numbers = codes.split(/[;:]/).map((code) => Number(code || 0));
  for (let at = 0; at < numbers.length; at += 1) {
    const code = numbers[at];
    if (code === 0) for (const name of Object.keys(next)) delete next[name];
    else if (code === 1) next.bold = true;
    else if (code === 2) next.dim = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.underline = true;
    else if (code === 9) next.struck = true;
    else if (code === 22) next.bold = next.dim = false;
    else if (code === 23) next.italic = false;
    else if (code === 24) next.underline = false;
    else if (code === 29) next.struck = false;
    else if (code >= 30 && code <= 37) next.colour = NAMES[code - 30];
    else if (code >= 90 && code <= 97) next.colour = NAMES[code - 90];
    else if (code === 39) next.colour = null;
    else if (code === 38 || code === 48) {
      const [colour, used] = extended(numbers.slice(at + 1));
      if (code === 38) next.colour = colour;
      at += used;
    }
  }
  return next;
}

// 256 colours and true colours, as the nearest of the eight that are readable on our backgrounds.
function extended([kind, ...values]) {
  if (kind === 2) return [nearest(values.slice(0, 3)), 4];
  if (kind !== 5) return [null, 0];
  const index = values[0] ?? 0;
  if (index < 16) return [NAMES[index % 8], 2];
  if (index >= 232) return [index < 244 ? "black" : "white", 2];
  const cube = index - 16;
  return [nearest([Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6].map((part) => part * 51)), 2];
}

function nearest(parts) {
  const most = Math.max(...parts);
  const bits = parts.map((part) => Number(most > 60 && part > most * 0.6));
  return NAMES[bits[0] + 2 * bits[1] + 4 * bits[2]];
}

function classesOf(style) {
  const found = ["bold", "dim", "italic", "underline", "struck"].filter((name) => style[name]).map((name) => `t-${name}`);
  if (style.colour) found.push(`t-${style.colour}`);
  return found.join(" ");
}
