// Times as a person reads them: of this place, in UTC, or as an age; one choice for all pages, kept in this browser.

import { age, el } from "./text.js";

const KEY = "kubiya.clock";
export const KINDS = ["local", "utc", "relative"];

export function kind() {
  const kept = localStorage.getItem(KEY);
  return KINDS.includes(kept) ? kept : "local";
}

export function choose(next) {
  localStorage.setItem(KEY, next);
  for (const element of document.querySelectorAll("time[data-at]")) fill(element);
}

const FORMATS = new Map();

function format(zone, day) {
  const name = `${zone} ${day}`;
  if (!FORMATS.has(name)) {
    const date = day ? { year: "numeric", month: "short", day: "numeric" } : {};
    const options = { ...date, hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZone: zone || undefined };
    FORMATS.set(name, new Intl.DateTimeFormat(undefined, options));
    FORMATS.set(`${name} zone`, new Intl.DateTimeFormat("en", { timeZone: zone || undefined, timeZoneName: "short" }));
  }
  return FORMATS.get(name);
}

// "14:02:11", with the day where it is not today's, and with the zone where it is asked for.
export function words(iso, { zone = false, as = kind() } = {}) {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return "";
  if (as === "relative") return age(iso);
  const place = as === "utc" ? "UTC" : "";
  const today = new Date().toDateString() === at.toDateString();
  const text = format(place, !today).format(at);
  if (!zone) return text;
  const parts = FORMATS.get(`${place} ${!today} zone`).formatToParts(at);
  return `${text} ${parts.find((part) => part.type === "timeZoneName")?.value || ""}`.trim();
}

// A <time> that follows the choice of the clock. Its title has the exact time, and when that was.
export function clock(iso, options = {}) {
  const element = el("time", { datetime: iso, "data-at": iso, "data-zone": options.zone ? "yes" : null, class: "clock" });
  fill(element);
  return element;
}

function fill(element) {
  const iso = element.dataset.at;
  element.textContent = words(iso, { zone: element.dataset.zone === "yes" });
  element.title = `${words(iso, { zone: true, as: "utc" })} · ${words(iso, { zone: true, as: "local" })} · ${age(iso)}`;
}
