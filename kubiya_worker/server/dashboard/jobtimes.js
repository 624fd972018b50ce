// What a job's schedule does when a run is still going, or was missed; its coming runs, and what started none.

import { until } from "./schedule.js";
import { el } from "./text.js";

// The words of the API, as a person reads them.
export const OVERLAPS = [
  ["allow_all", "Start the next one beside it"],
  ["skip", "Leave the next one out"],
  ["buffer_one", "Start one more after it"],
  ["buffer_all", "Start all after it, one by one"],
  ["cancel_other", "Cancel it and start the next one"],
];
const SPANS = [[60, "up to 1 minute late"], [600, "up to 10 minutes late"], [3600, "up to 1 hour late"], [86400, "up to 1 day late"], [604800, "up to 1 week late"]];

export function overlapOptions() {
  return OVERLAPS.map(([value, label]) => el("option", { value }, label));
}

// A value that only the API offers is a choice too.
export function catchUpOptions(chosen) {
  const known = SPANS.some(([seconds]) => seconds === chosen);
  const all = known ? SPANS : [[chosen, `up to ${chosen} seconds late`], ...SPANS];
  return all.map(([value, label]) => el("option", { value }, label));
}

// "Fri, Nov 27, 2026, 02:00 GMT+1": on the job's own clock.
export function zoned(iso, zone) {
  const options = { weekday: "short", year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZoneName: "short" };
  try {
    return new Date(iso).toLocaleString(undefined, { ...options, timeZone: zone || "UTC" });
  } catch {
    return new Date(iso).toLocaleString(undefined, options); // a zone that this browser does not know
  }
}

// Lines of facts about a job with a schedule: [name, part …].
export function timeFacts(job) {
  if (job.trigger_type !== "cron") return [];
  const overlap = OVERLAPS.find(([value]) => value === job.overlap_policy)?.[1] || job.overlap_policy;
  const catchUp = SPANS.find(([seconds]) => seconds === job.catch_up_seconds)?.[1] || `up to ${job.catch_up_seconds} seconds late`;
  const { skipped = 0, missed = 0, waiting = 0 } = job.firings || {};
  const counts = [[skipped, "left out: an execution was still going"], [missed, "missed: Temporal was away"], [waiting, "waiting for an execution's end"]];
  const told = counts.filter(([count]) => count).map(([count, word]) => `${count} ${word}`);
  return [
    ["While it runs", overlap],
    ["Catches up", `what Temporal has missed, ${catchUp}`],
    told.length ? ["Not started", told.join(" · ")] : null,
  ];
}

// The two lists under the facts; each is left out where it is empty.
export function timeLists(job) {
  const next = (job.next_executions || []).map((iso) => el("li", {}, el("time", { datetime: iso }, zoned(iso, job.cron_timezone)), ` (${until(iso)})`));
  const left = (job.firings?.left_out || []).map((one) => el("li", {},
    el("time", { datetime: one.at }, zoned(one.at, job.cron_timezone)), ": ",
    one.execution_id ? el("a", { href: `#/executions/${encodeURIComponent(one.execution_id)}` }, one.text) : one.text));
  return [
    ...(next.length ? [el("h3", {}, "Next executions"), el("ul", { class: "moments" }, ...next)] : []),
    ...(left.length ? [el("h3", {}, "Started nothing"), el("ul", { class: "moments" }, ...left)] : []),
  ];
}
