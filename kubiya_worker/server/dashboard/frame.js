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

// What came of something that a person did on another screen; it stands until it is put away or followed.
export function late(text, address = "") {
  $("late-text").textContent = text;
  $("late-link").hidden = !address;
  if (address) $("late-link").href = address;
  $("late").hidden = !text;
}

for (const id of ["late-link", "late-close"]) $(id)?.addEventListener("click", () => late(""));

// A button that was disabled while it worked has the focus again, unless that is somewhere else by now.
export function refocus(button) {
  if (document.activeElement === document.body) button.focus();
}

// In place of a view; without nodes, the view shows.
export function nothing(...nodes) {
  $("nothing").hidden = !nodes.length;
  $("nothing").replaceChildren(...nodes);
}

export function notFound(message, href, label) {
  nothing(el("p", { role: "alert" }, message), el("p", {}, el("a", { href }, label)));
}
