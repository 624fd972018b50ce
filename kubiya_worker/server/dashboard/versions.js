// The versions of a definition, and what differs between two of them.

import { clock } from "./clock.js";
import { el } from "./text.js";

// A table of {path, before?, after?}.
export function changesTable(differences, label = "What changes") {
  if (!differences.length) return el("p", { class: "help" }, "Nothing differs.");
  const head = el("tr", {}, ...["Field", "Before", "After"].map((text) => el("th", { scope: "col" }, text)));
  const rows = differences.map((each) => el("tr", {}, el("th", { scope: "row" }, each.path.replace(/^spec\.?/, "") || "all"), cell(each, "before"), cell(each, "after")));
  const table = el("table", { class: "differences" }, el("thead", {}, head), el("tbody", {}, ...rows));
  return el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": label }, table);
}

function cell(difference, side) {
  if (!(side in difference)) return el("td", { class: "help" }, "–");
  const value = difference[side];
  return el("td", {}, typeof value === "string" ? value : JSON.stringify(value, null, 1));
}

// `restore(version)`: null for who may not.
export function versionNodes(versions, restore) {
  const newest = versions.findIndex((each) => each.version !== null);
  return versions.map((each, at) => {
    const who = each.by?.name || each.by?.email || "";
    const title = el("h3", {}, each.version === null ? "Now" : `Version ${each.version}`);
    const about = el("p", { class: "help" }, [each.action, who && `by ${who}`].filter(Boolean).join(" "), " · ", clock(each.at));
    const same = each.version === null || (at === newest && newest === 0 && each.spec !== null);
    const button = !restore || each.spec === null || same ? null : el("button", { type: "button", class: "small", onclick: () => restore(each.version) }, `Restore version ${each.version}`);
    return el("section", { class: "version" }, el("div", { class: "about-line" }, title, button), about, changesTable(each.differences, each.version === null ? "What changed since" : `What version ${each.version} changed`));
  });
}
