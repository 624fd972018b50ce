// The steps of an execution over time: a row for each, with a bar, its clock time, how long it took, tokens and cost.

import { clock } from "./clock.js";
import { dollars } from "./executions.js";
import { set } from "./list.js";
import { Rows } from "./rows.js";
import { KINDS } from "./steps.js";
import { $, duration, el, oneLine, summary, svg } from "./text.js";

const WIDE = 1000; // units of a bar's width
const LEAST = 3; // units of the shortest bar
const FEW = 40; // steps that are shown on the clock of the whole run
const LANES = ["model", "tool", "member", "approval", "wait"];

export class Waterfall {
  // `address(key)`: of the page that shows a step.
  constructor({ address }) {
    Object.assign(this, { address, steps: null, span: [0, 1] });
    this.rows = new Rows($("step-rows"), { make: (step) => this.make(step), update: (row, step) => this.update(row, step), drawn: (from, to) => this.zoomed(from, to) });
    for (const id of ["step-zoom", "step-kind"]) $(id).addEventListener("change", () => this.draw());
  }

  clear() {
    this.rows.clear();
    Object.assign(this, { steps: null, chosen: null });
    $("step-kind").value = "";
    $("step-zoom").value = "auto";
  }

  show(steps, live, chosen) {
    Object.assign(this, { steps, live, chosen });
    this.draw();
  }

  get shown() {
    const kind = $("step-kind").value;
    return kind ? this.steps.list.filter((step) => step.kind === kind) : this.steps.list;
  }

  end(step) {
    return step.end ?? (this.live ? Math.max(Date.now(), step.start) : this.steps.last);
  }

  draw() {
    if (!this.steps || $("run-steps").hidden) return;
    const { list } = this.steps;
    this.whole = spanOf(list, (step) => this.end(step));
    this.close = $("step-zoom").value === "seen" || ($("step-zoom").value === "auto" && list.length > FEW);
    if (!this.close) this.span = this.whole;
    const shown = this.shown;
    this.rows.show(shown, this.chosen);
    const { tokens, cost } = this.steps;
    set($("step-sum"), [`${shown.length.toLocaleString("en")} steps`, duration((this.whole[1] - this.whole[0]) / 1000), tokens && `${tokens.toLocaleString("en")} tokens`, dollars(cost)].filter(Boolean).join(" · "));
    this.overview();
  }

  // Where the bars follow what is in sight, the clock does.
  zoomed(from, to) {
    const seen = this.shown.slice(from, to);
    if (this.close && seen.length) {
      const span = spanOf(seen, (step) => this.end(step));
      if (span[0] !== this.span[0] || span[1] !== this.span[1]) {
        this.span = span;
        for (const step of seen) {
          const row = this.rows.known.get(step.key);
          if (row) this.update(row, step);
        }
      }
    }
    const axis = this.span.map((at) => new Date(at).toISOString());
    if ($("step-axis").dataset.axis !== axis.join()) {
      $("step-axis").dataset.axis = axis.join();
      $("step-axis").replaceChildren(clock(axis[0], { zone: true }), el("span", {}, duration((this.span[1] - this.span[0]) / 1000)), clock(axis[1]));
    }
    const [x, width] = place(this.span, this.whole);
    const view = $("overview-view");
    view.setAttribute("x", x);
    view.setAttribute("width", Math.max(width, LEAST));
  }

  // The whole run on one strip: a lane for each kind, drawn as one path.
  overview() {
    for (const [lane, kind] of LANES.entries()) {
      let path = "";
      let until = -1;
      for (const step of this.steps.list) {
        if (step.kind !== kind) continue;
        const [x, width] = place([step.start, this.end(step)], this.whole);
        const right = Math.ceil(x + Math.max(width, 2));
        if (right <= until) continue; // drawn already: thousands of steps share a column
        path += `M${Math.floor(Math.max(x, until))} ${lane * 5}H${right}V${lane * 5 + 4}H${Math.floor(Math.max(x, until))}Z`;
        until = right;
      }
      $(`overview-${kind}`).setAttribute("d", path);
    }
  }

  make(step) {
    const kind = el("span", { class: "step-kind" }, KINDS[step.kind]);
    const name = el("span", { class: "step-name" });
    const about = el("span", { class: "step-about" });
    const bar = svg("svg", { class: "bar", viewBox: `0 0 ${WIDE} 12`, preserveAspectRatio: "none", "aria-hidden": "true" });
    const numbers = el("span", { class: "step-numbers" });
    const link = el("a", { href: this.address(step.key), class: "step", "data-kind": step.kind, "data-depth": Math.min(step.depth, 4) }, el("span", { class: "step-what" }, kind, name, about), bar, el("span", { class: "step-end" }, clock(new Date(step.start).toISOString()), numbers));
    return { item: el("li", {}, link), link, name, about, bar, numbers, drawn: "" };
  }

  update(row, step) {
    row.link.dataset.state = step.state;
    set(row.name, [step.who, step.name].filter(Boolean).join(" · "));
    set(row.about, oneLine(step.words || (step.input === undefined ? step.output.slice(0, 300) : summary(step.input)), 120));
    const took = step.end === step.start ? "" : duration((this.end(step) - step.start) / 1000);
    set(row.numbers, [took, step.tokens && `${short(step.tokens)} tokens`, dollars(step.cost)].filter(Boolean).join(" · "));
    const bars = barsOf(step, this.end(step)).map(([from, to, look]) => [...place([from, to], this.span), look]);
    const drawn = bars.map((bar) => bar.join()).join(";");
    if (row.drawn === drawn) return;
    row.drawn = drawn;
    row.bar.replaceChildren(...bars.map(([x, width, look]) => svg("rect", { x: Math.min(x, WIDE - LEAST), width: Math.max(width, LEAST), y: look === "thin" ? 4 : 1, height: look === "thin" ? 4 : 10, class: look })));
  }
}

// [from, to, look]: a thin part before the first token or the work, lost attempts, and the work.
function barsOf(step, end) {
  const bars = [];
  let from = step.start;
  for (const { at } of step.attempts.slice(-5)) {
    if (at > from) bars.push([from, at, "lost"]);
    from = Math.max(from, at);
  }
  const begun = step.worked ? Math.max(from, end - step.worked) : step.first ?? from;
  if (begun > from && begun < end) bars.push([from, begun, "thin"]);
  bars.push([Math.min(Math.max(from, begun), end), end, "work"]);
  return bars;
}

function place([from, to], [begin, end]) {
  const unit = WIDE / Math.max(1, end - begin);
  const left = Math.min(WIDE, Math.max(0, (from - begin) * unit));
  const right = Math.min(WIDE, Math.max(0, (to - begin) * unit));
  return [Math.round(left * 10) / 10, Math.round((right - left) * 10) / 10];
}

function spanOf(list, end) {
  let [from, to] = [Infinity, -Infinity];
  for (const step of list) {
    from = Math.min(from, step.start);
    to = Math.max(to, end(step));
  }
  return Number.isFinite(from) ? [from, Math.max(to, from + 1)] : [Date.now() - 1, Date.now()];
}

export function short(count) {
  return count < 10_000 ? count.toLocaleString("en") : `${Math.round(count / 1000).toLocaleString("en")}k`;
}
