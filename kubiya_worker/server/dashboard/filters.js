// Which executions are listed: the fields, the address that says the same, and views, which are names for addresses.

import { $, el } from "./text.js";

const FIELDS = { text: "search", status: "filter", agent: "by-agent", queue: "by-queue", person: "by-person", since: "since", until: "until", order: "order" };
const KEY = "kubiya.views";
const PAUSE = 250; // ms after a key before it is searched

export class Filters {
  // `changed(address)`: other executions are wanted.
  constructor({ changed }) {
    this.changed = changed;
    $("filters").addEventListener("input", (event) => {
      clearTimeout(this.timer);
      const typed = event.target.type === "search" || event.target.type === "text";
      this.timer = setTimeout(() => this.told(), typed ? PAUSE : 0);
    });
    $("filters").addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(this.timer);
      this.told();
    });
    $("clear-filters").addEventListener("click", () => {
      this.take("");
      this.told();
    });
    $("save-view").addEventListener("click", () => this.save());
    $("forget-view").addEventListener("click", () => this.forget());
    this.showViews();
  }

  told() {
    this.showViews();
    this.changed(this.address());
  }

  // What the control plane is asked: the fields that are filled in.
  values() {
    const found = new URLSearchParams();
    for (const [name, id] of Object.entries(FIELDS)) {
      const value = $(id).value.trim();
      if (value) found.set(name, $(id).type === "datetime-local" ? new Date(value).toISOString() : value);
    }
    if ($("waits").checked) found.set("waits", "true");
    return found;
  }

  address() {
    const words = this.values().toString();
    return words ? `#/?${words}` : "#/";
  }

  // The fields as an address says.
  take(words) {
    const given = new URLSearchParams(words);
    for (const [name, id] of Object.entries(FIELDS)) {
      const value = given.get(name) || "";
      $(id).value = $(id).type === "datetime-local" && value ? local(value) : value;
    }
    $("waits").checked = given.get("waits") === "true";
    this.showViews();
  }

  // -- views

  showViews() {
    const own = kept();
    const midnight = new Date();
    midnight.setHours(0, 0, 0, 0);
    const given = [["All", "#/"], ["Waiting for a person", "#/?waits=true"], ["Failed today", `#/?status=failed&since=${encodeURIComponent(midnight.toISOString())}`]];
    const here = this.address();
    const links = [...given, ...own].map(([name, address]) => el("a", { href: address, "aria-current": address === here ? "true" : null }, name));
    if (!$("views").contains(document.activeElement)) $("views").replaceChildren(...links);
    $("forget-view").hidden = !own.some(([, address]) => address === here);
  }

  save() {
    const name = $("view-name").value.trim();
    if (!name) return $("view-name").focus();
    keep([...kept().filter(([each]) => each !== name), [name, this.address()]]);
    $("view-name").value = "";
    this.showViews();
  }

  forget() {
    keep(kept().filter(([, address]) => address !== this.address()));
    this.showViews();
  }
}

// [[name, address]] of this browser; what is not of that shape is left out.
function kept() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) || "[]");
    return found.filter((each) => Array.isArray(each) && /^#\/(\?|$)/.test(each[1])).map(([name, address]) => [String(name), String(address)]);
  } catch {
    return [];
  }
}

function keep(views) {
  localStorage.setItem(KEY, JSON.stringify(views));
}

// A time as the field for it wants it: of this place, to the minute.
function local(iso) {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return "";
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
