// The list of jobs: what starts when, and how it went last.

import { List, set, setStatus } from "./list.js";
import { startText, until } from "./schedule.js";
import { age, el, oneLine } from "./text.js";

export class Jobs extends List {
  make(job) {
    const name = el("span", { class: "row-prompt" });
    const off = el("span", { class: "status", "data-status": "disabled" }, "disabled");
    const start = el("span", { class: "row-facts" });
    const status = el("span", { class: "status" });
    const last = el("span", { class: "row-facts" });
    const link = el(
      "a",
      { href: `#/jobs/${encodeURIComponent(job.id)}` },
      el("span", { class: "row-line" }, name, off),
      el("span", { class: "row-line" }, start),
      el("span", { class: "row-line" }, status, last),
    );
    return { item: el("li", {}, link), link, name, off, start, status, last };
  }

  update(row, job) {
    const next = job.next_execution_at ? `next ${until(job.next_execution_at)}` : "";
    set(row.name, oneLine(job.name));
    row.off.hidden = job.enabled;
    set(row.start, [startText(job), next].filter(Boolean).join(" · "));
    // A schedule that Temporal refuses never starts anything: that comes before how it went.
    const wrong = job.broken || job.error_message;
    row.status.hidden = !wrong && !job.last_execution_status;
    row.status.title = wrong || "";
    if (wrong) {
      set(row.status, job.broken ? "broken" : "cannot start");
      row.status.dataset.status = "failed";
    } else setStatus(row.status, job.last_execution_status, this.waiting.has(job.last_execution_id));
    set(row.last, job.last_execution_at ? `ran ${age(job.last_execution_at)}` : "has no executions yet");
  }
}
