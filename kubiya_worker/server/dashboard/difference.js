// What differs between two texts, line by line.

import { el } from "./text.js";

const MOST = 400; // lines of each that are compared one by one

// [[" " | "-" | "+", line]]: what stays, what is gone, what is new.
export function difference(before, after) {
  const [old, now] = [before.split("\n"), after.split("\n")];
  if (old.length > MOST || now.length > MOST) return [...old.map((line) => ["-", line]), ...now.map((line) => ["+", line])];
  // longest[a][b]: lines that old from a and now from b have in common.
  const longest = Array.from({ length: old.length + 1 }, () => new Uint16Array(now.length + 1));
  for (let a = old.length - 1; a >= 0; a -= 1) {
    for (let b = now.length - 1; b >= 0; b -= 1) {
      longest[a][b] = old[a] === now[b] ? longest[a + 1][b + 1] + 1 : Math.max(longest[a + 1][b], longest[a][b + 1]);
    }
  }
  const found = [];
  let [a, b] = [0, 0];
  while (a < old.length || b < now.length) {
    if (a < old.length && b < now.length && old[a] === now[b]) found.push([" ", old[a++]]), (b += 1);
    else if (a < old.length && (b === now.length || longest[a + 1][b] >= longest[a][b + 1])) found.push(["-", old[a++]]);
    else found.push(["+", now[b++]]);
  }
  return found;
}

export function differenceNode(before, after, label) {
  const lines = difference(before, after).map(([sign, line]) => {
    const words = { "-": "removed: ", "+": "added: " }[sign];
    const tag = { "-": "del", "+": "ins" }[sign] || "span";
    return el(tag, { class: "line-of" }, words ? el("span", { class: "unseen" }, words) : null, `${sign} ${line}\n`);
  });
  return el("pre", { class: "difference", tabindex: "0", "aria-label": label }, ...lines);
}
