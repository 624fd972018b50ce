// The page: signing in, which view is shown, and its list, asked for again while the page is seen.

import { call, key } from "./api.js";
import { Execution } from "./execution.js";
import { Executions } from "./executions.js";
import { banner, nothing } from "./frame.js";
import { Job } from "./job.js";
import { JobForm } from "./jobform.js";
import { Jobs } from "./jobs.js";
import { Start } from "./start.js";
import { $, el, statusText } from "./text.js";

const EVERY = 2000; // ms between two looks at the list
const PAGE = 50;

const state = { kind: "executions", limit: PAGE, timer: null, signedIn: false };
const refused = () => signedOut("The key is not known any more");
const start = new Start({ refused });
const form = new JobForm({ refused, saved });
const lists = { executions: new Executions($("rows"), $("empty")), jobs: new Jobs($("job-rows"), $("no-jobs")) };
const views = {
  executions: new Execution({ refused, changed: refresh, again: (row) => start.open(row) }),
  jobs: new Job({ refused, changed: refresh, edit: (job) => form.open(job) }),
};

// -- signing in

function signedOut(message = "") {
  state.signedIn = false;
  key.forget();
  leave();
  views.jobs.forget();
  for (const list of Object.values(lists)) list.clear();
  clearTimeout(state.timer);
  banner("");
  for (const id of ["app", "new", "leave", "workers"]) $(id).hidden = true;
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  $("door").hidden = false;
  $("key-error").textContent = message;
  $("key").value = "";
  $("key").focus();
}

async function signIn() {
  try {
    await call("GET", "/auth/validate");
  } catch (error) {
    if (error.status === 401) return signedOut("The control plane does not know this key");
    banner(`${error.message}; trying again`);
    state.timer = setTimeout(signIn, EVERY);
    return;
  }
  state.signedIn = true;
  banner("");
  $("door").hidden = true;
  for (const id of ["app", "new", "leave"]) $(id).hidden = false;
  route();
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const value = $("key").value.trim();
  if (!/^[\x21-\x7e]+$/.test(value)) {
    $("key-error").textContent = "That is not an API key";
    return;
  }
  $("key-error").textContent = "";
  key.set(value);
  signIn();
});
$("leave").addEventListener("click", () => signedOut());

// -- the lists

async function refresh() {
  clearTimeout(state.timer);
  if (!state.signedIn) return;
  if (!document.hidden) {
    try {
      const [workers] = await Promise.all([call("GET", "/workers"), state.kind === "jobs" ? showJobs() : showExecutions()]);
      if (!state.signedIn) return;
      showWorkers(workers);
      banner("");
    } catch (error) {
      if (error.status === 401) return refused();
      banner(`${error.message}; trying again`);
    }
  }
  clearTimeout(state.timer);
  state.timer = setTimeout(refresh, EVERY);
}

async function showExecutions() {
  const filter = $("filter").value;
  const query = `summary=true&limit=${state.limit + 1}${filter ? `&status_filter=${filter}` : ""}`;
  const [found, pending] = await Promise.all([call("GET", `/executions?${query}`), call("GET", "/approvals/pending")]);
  if (filter !== $("filter").value) return; // another choice was made meanwhile, and is being asked for
  const waiting = new Set(pending.map((approval) => approval.execution_id));
  const none = filter
    ? `No execution is ${statusText(filter)}.`
    : "Nothing has run yet. Start an execution here, or in a shell: kubiya exec agent ops \"what fills the disk?\"";
  lists.executions.show(found.slice(0, state.limit), views.executions.chosen, none, waiting);
  $("more").hidden = found.length <= state.limit;
  views.executions.show(); // its age
}

async function showJobs() {
  const [found, pending] = await Promise.all([call("GET", "/jobs?due=true"), call("GET", "/approvals/pending"), views.jobs.refresh()]);
  const waiting = new Set(pending.map((approval) => approval.execution_id));
  found.sort((a, b) => a.name.localeCompare(b.name));
  lists.jobs.show(found, views.jobs.chosen, "There is no job yet. A job starts an agent or a team by a schedule, by a webhook, or by hand.", waiting);
}

function showWorkers(workers) {
  const one = workers.length === 1;
  $("workers").hidden = false;
  $("workers").dataset.some = String(workers.length > 0);
  $("workers").textContent = workers.length ? `${workers.length} worker${one ? "" : "s"} live` : "no worker is live";
  $("workers").title = workers.length ? "" : "Start one: kubiya worker start --queue-id default";
}

$("filter").addEventListener("change", refresh);
$("more").addEventListener("click", () => {
  state.limit = Math.min(450, state.limit + PAGE);
  refresh();
});
document.addEventListener("visibilitychange", () => document.hidden || refresh());

// -- which view: #/, #/executions/ID, #/jobs, #/jobs/ID

function place() {
  const [, kind, id] = /^#\/(executions|jobs)(?:\/(.+))?$/.exec(location.hash) || [];
  try {
    return { kind: kind || "executions", id: id ? decodeURIComponent(id) : null };
  } catch {
    return { kind, id: id || null }; // not what this page wrote: nothing has that id
  }
}

function route() {
  const { kind, id } = place();
  state.kind = kind;
  document.body.dataset.view = id ? "detail" : "list";
  document.body.dataset.kind = kind;
  for (const each of Object.keys(views)) {
    if (each === kind) $(`tab-${each}`).setAttribute("aria-current", "page");
    else $(`tab-${each}`).removeAttribute("aria-current");
    $(`list-${each}`).hidden = each !== kind;
  }
  $("filter").hidden = kind !== "executions";
  $("new-what").textContent = kind === "jobs" ? " job" : " execution";
  if (id === null || id !== views[kind].chosen) {
    leave();
    if (id && state.signedIn) views[kind].open(id);
  }
  refresh();
}

function leave() {
  for (const view of Object.values(views)) view.leave();
  nothing(el("p", {}, state.kind === "jobs" ? "Choose a job, or make a new one." : "Choose an execution, or start a new one."));
  document.title = "Kubiya";
}

$("new").addEventListener("click", () => (state.kind === "jobs" ? form.open() : start.open()));

// A job was made or changed. `secret`: of its webhook; shown once, since nobody can ask for it again.
function saved(job, secret) {
  views.jobs.keep(job.id, secret);
  if (place().id === job.id) refresh();
  else location.hash = `#/jobs/${encodeURIComponent(job.id)}`;
}

// Enter sends, Shift+Enter is a new line, as in every chat; in a form it takes Ctrl; not while an input method composes.
for (const [field, target] of [["say", "composer"], ["prompt", "start-form"], ["job-prompt", "job-form"]]) {
  $(field).addEventListener("keydown", (event) => {
    const sends = field === "say" ? !event.shiftKey : event.ctrlKey || event.metaKey;
    if (event.key === "Enter" && sends && !event.isComposing) {
      event.preventDefault();
      $(target).requestSubmit();
    }
  });
}

// `kubiya dev` prints an address that carries the key behind the #, which browsers send to nobody. It is taken once, and
// does not stay in the address bar or the history.
function takeKey() {
  const given = /^#key=(kby_[\w-]+)$/.exec(location.hash);
  if (!given) return;
  history.replaceState(null, "", location.pathname);
  key.set(given[1]);
}

takeKey();
window.addEventListener("hashchange", route);
route();
if (key.get()) signIn();
else signedOut();
