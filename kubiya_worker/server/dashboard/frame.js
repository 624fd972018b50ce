// What is around every view: the line on top, the words for screen readers, and what stands where nothing is chosen.

import { $, el } from "./text.js";

let said = null;

// Read out by screen readers: of what comes within one frame, the last.
export function say(text) {
  if (said === null) requestAnimationFrame(() => {
    $("said").textContent = said;
    said = null;
  });
  said = text;
}

export function banner(text) {
  $("banner").hidden = !text;
  if ($("banner").textContent !== text) $("banner").textContent = text;
}

// In place of a view; without nodes, the view shows.
export function nothing(...nodes) {
  $("nothing").hidden = !nodes.length;
  $("nothing").replaceChildren(...nodes);
}

export function notFound(message, href, label) {
  nothing(el("p", { role: "alert" }, message), el("p", {}, el("a", { href }, label)));
}
