// When a job starts, in words. What cron can say and these words cannot stays cron: the words are never nearly right.

const SHORT = {
  "@hourly": "0 * * * *",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@weekly": "0 0 * * 0",
  "@monthly": "0 0 1 * *",
  "@yearly": "0 0 1 1 *",
  "@annually": "0 0 1 1 *",
};
const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = "January February March April May June July August September October November December".split(" ");

// "weekdays at 09:00"; "" for what has no words here, or is no schedule.
export function words(cron) {
  const text = String(cron || "").trim().toLowerCase();
  const fields = (SHORT[text] || text).split(/\s+/);
  if (fields.length !== 5) return "";
  const [minute, hour, day, month, weekday] = fields;
  const time = timeOfDay(minute, hour);
  const date = dateOf(day, month, weekday);
  if (!time || date === null) return "";
  if (time.startsWith("at ")) return `${date || "daily"} ${time}`;
  return date ? `${time}, ${date}` : time;
}

function timeOfDay(minute, hour) {
  const at = number(minute, 0, 59);
  const each = step(minute, 60);
  const everyHours = step(hour, 24);
  if (at === null) {
    const often = minute === "*" || each === 1 ? "every minute" : each ? `every ${each} minutes` : "";
    if (!often || hour === "*" || everyHours === 1) return often;
    const span = /^(\d+)-(\d+)$/.exec(hour);
    const [from, to] = span ? [number(span[1], 0, 23), number(span[2], 0, 23)] : [number(hour, 0, 23), number(hour, 0, 23)];
    if (from === null || to === null || from > to) return "";
    return `${often} from ${clock(from, 0)} to ${clock(to, 59 - (59 % (each || 1)))}`;
  }
  if (hour === "*" || everyHours === 1) return `hourly at :${String(at).padStart(2, "0")}`;
  if (everyHours) return `every ${everyHours} hours from ${clock(0, at)}`;
  const hours = hour.split(",").map((part) => number(part, 0, 23));
  if (hours.includes(null)) return "";
  return `at ${and([...new Set(hours)].sort((a, b) => a - b).map((each) => clock(each, at)))}`;
}

// "" for each day; null for what has no words.
function dateOf(day, month, weekday) {
  const months = month === "*" ? [] : month.split(",").map((part) => named(part, MONTHS, 1));
  if (months.includes(null)) return null;
  const during = months.length ? and(months.map((each) => MONTHS[each - 1])) : "";
  if (day !== "*" && weekday !== "*") return null; // either of them: few know that, and it takes a long sentence
  if (day !== "*") {
    const days = day.split(",").map((part) => number(part, 1, 31));
    if (days.includes(null)) return null;
    return `day ${and(days)} of ${during || "each month"}`;
  }
  const week = weekday === "*" ? "" : weekdays(weekday);
  if (week === null) return null;
  return [week || (during && "daily"), during && `in ${during}`].filter(Boolean).join(" ");
}

function weekdays(field) {
  const found = new Set();
  for (const part of field.split(",")) {
    const [first, last, more] = part.split("-");
    const from = named(first, DAYS, 0, 7);
    let to = last === undefined ? from : named(last, DAYS, 0, 7);
    if (from === null || to === null || more !== undefined) return null;
    if (last !== undefined && to === 0) to = 7; // fri-sun
    if (from > to) return null;
    for (let each = from; each <= to; each++) found.add(each % 7);
  }
  if (found.size === 7) return "";
  const days = [1, 2, 3, 4, 5, 6, 0].filter((each) => found.has(each));
  if (days.join() === "1,2,3,4,5") return "weekdays";
  if (days.join() === "6,0") return "weekends";
  return and(days.map((each) => `${DAYS[each]}s`));
}

function number(text, low, high) {
  return /^\d{1,2}$/.test(text) && Number(text) >= low && Number(text) <= high ? Number(text) : null;
}

function named(text, names, low, high = names.length - 1 + low) {
  const place = names.findIndex((name) => name.slice(0, 3).toLowerCase() === text);
  return place < 0 ? number(text, low, high) : place + low;
}

// The n of "*/n" where that comes round evenly.
function step(text, whole) {
  const found = /^\*\/(\d{1,2})$/.exec(text);
  return found && Number(found[1]) > 0 && whole % Number(found[1]) === 0 ? Number(found[1]) : 0;
}

function clock(hour, minute) {
  return `${String(hour).padStart(2, "0")}:${String(minute).padStart(2, "0")}`;
}

function and(parts) {
  return parts.length < 2 ? String(parts[0] ?? "") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}

// What starts a job: "weekdays at 09:00, Europe/Berlin", "by webhook", "by hand".
export function startText(job) {
  if (job.trigger_type === "webhook") return "by webhook";
  if (job.trigger_type !== "cron") return "by hand";
  return `${words(job.cron_schedule) || job.cron_schedule}, ${job.cron_timezone || "UTC"}`;
}

// "in 3 h"
export function until(iso) {
  const seconds = (Date.parse(iso) - Date.now()) / 1000;
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 1) return "now";
  if (seconds < 60) return `in ${Math.ceil(seconds)} s`;
  if (seconds < 3600) return `in ${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `in ${Math.round(seconds / 3600)} h`;
  return `in ${Math.round(seconds / 86400)} days`;
}

// A time on the viewer's clock, which is named.
const MOMENT = { weekday: "short", year: "numeric", month: "short", day: "numeric", hour: "numeric", minute: "2-digit", timeZoneName: "short" };

export function moment(iso) {
  const at = new Date(iso);
  return Number.isNaN(at.getTime()) ? "" : at.toLocaleString(undefined, MOMENT);
}
