// The page: signing in, which view is shown, and its list, asked for again while the page is seen.

import { call, session } from "./api.js";
import { Audit } from "./audit.js";
import { Execution } from "./execution.js";
import { choose, kind as clockKind } from "./clock.js";
import { Executions } from "./executions.js";
import { Filters } from "./filters.js";
import { Definition } from "./definition.js";
import { addressOf, Definitions } from "./definitions.js";
import { Fleet, polls } from "./fleet.js";
import { banner, nothing } from "./frame.js";
import { Inbox } from "./inbox.js";
import { Job } from "./job.js";
import { JobForm } from "./jobform.js";
import { Jobs } from "./jobs.js";
import { set } from "./list.js";
import { Pages } from "./pages.js";
import { place } from "./place.js";
import { Request } from "./request.js";
import { may, needs, setRights } from "./rights.js";
import { Start } from "./start.js";
import { Stop } from "./stop.js";
import { $, el, statusText } from "./text.js";

const EVERY = 2000; // ms between two looks at the list
const NEW = { executions: "POST /agents/{entity}/execute", jobs: "POST /jobs", definitions: "POST /definitions/apply" }; // what the button for a new one needs
const ANSWERING = "Keys: j and k go through the list, x chooses for an answer to several; in a request a approves, r denies, e edits.";
// What stands where nothing is chosen: for who may only read, and for who may also do what the view is for.
const NOTHING = {
  executions: ["Choose an execution.", "Choose an execution, or start a new one.", NEW.executions],
  inbox: ["Choose a request.", `Choose what to answer. ${ANSWERING}`, "POST /approvals/{approval}/approve"],
  jobs: ["Choose a job.", "Choose a job, or make a new one.", NEW.jobs],
  definitions: ["Choose a definition.", "Choose a definition, or make a new one.", NEW.definitions],
  fleet: ["Choose a queue.", "Choose a queue.", "GET /workers"],
  audit: ["Choose a record.", "Choose a record.", "GET /audit"],
};

const state = { kind: "executions", timer: null, signedIn: false };
const refused = () => signedOut("You are signed out: the key or the session has ended");
const start = new Start({ refused });
const stop = new Stop({ refused, changed: refresh });
const form = new JobForm({ refused, saved });
const filters = new Filters({ changed: filtered });
const pages = new Pages({ changed: refresh });
const lists = {
  executions: new Executions($("rows"), $("empty")),
  inbox: new Inbox($("inbox-rows"), $("no-inbox"), { changed: refresh }),
  jobs: new Jobs($("job-rows"), $("no-jobs")),
  definitions: new Definitions($("definition-rows"), $("no-definitions"), { changed: refresh }),
};
const views = {
  executions: new Execution({ refused, changed: refresh, again: (row) => start.open(row) }),
  inbox: new Request({ refused, changed: refresh }),
  jobs: new Job({ refused, changed: refresh, edit: (job) => form.open(job) }),
  definitions: new Definition({ refused, changed: redefined, names: (kind) => lists.definitions.names(kind) }),
  fleet: new Fleet({ refused, changed: refresh }),
  audit: new Audit({ refused, changed: refresh }),
};

// -- signing in

// One of the page's three mains: before the first answer of the control plane there is one too, for it may be slow.
function shown(main) {
  for (const id of ["before", "door", "app"]) $(id).hidden = id !== main;
}

function signedOut(message = "") {
  state.signedIn = false;
  leave();
  views.jobs.forget();
  for (const list of [...Object.values(lists), views.fleet, views.audit]) list.clear();
  setRights([]);
  clearTimeout(state.timer);
  banner("");
  for (const id of ["new", "person", "workers"]) $(id).hidden = true;
  stop.hide();
  shown("door");
  $("key-error").textContent = message;
  $("key").value = "";
  $("key").focus();
  offerProvider();
}

// The identity provider, where the control plane has one.
async function offerProvider() {
  try {
    const { oidc } = await call("GET", "/session/providers");
    $("oidc").hidden = !oidc;
    if (oidc) $("oidc").textContent = `Sign in with ${oidc.name}`;
  } catch {
    // The key is enough; a control plane that is away is said elsewhere.
  }
}

// With a key, or else by the session that this browser has.
async function signIn(key = "") {
  let found;
  try {
    found = key ? await session.begin(key) : await session.find();
  } catch (error) {
    if (error.status === 401) return signedOut(key ? "The control plane does not know this key" : "");
    banner(`${error.message}; trying again`);
    state.timer = setTimeout(() => signIn(key), EVERY);
    return;
  }
  const { user } = found;
  setRights(found.may);
  state.signedIn = true;
  banner("");
  $("who").textContent = user.name;
  $("who-more").textContent = [user.email, user.role, ...user.groups].filter(Boolean).join(" · ");
  shown("app");
  for (const id of ["new", "person"]) $(id).hidden = false;
  route();
}

async function signOut(everywhere) {
  $("person").open = false;
  try {
    await session.end(everywhere);
  } catch (error) {
    if (error.status !== 401) return banner(`${error.message}; you are still signed in`);
  }
  signedOut();
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const value = $("key").value.trim();
  if (!/^[\x21-\x7e]+$/.test(value)) {
    $("key-error").textContent = "That is not an API key";
    return;
  }
  $("key-error").textContent = "";
  signIn(value);
});
$("leave").addEventListener("click", () => signOut(false));
$("leave-all").addEventListener("click", () => signOut(true));

// -- the lists

async function refresh() {
  clearTimeout(state.timer);
  if (!state.signedIn) return;
  if (!document.hidden) {
    try {
      const [workers, stopped, pending] = await Promise.all(["/workers", "/stop", "/approvals/pending"].map((path) => call("GET", path)));
      if (!state.signedIn) return;
      showCount(pending.length);
      await { executions: showExecutions, inbox: showInbox, jobs: showJobs, definitions: () => lists.definitions.refresh(views.definitions.chosen), fleet: () => views.fleet.refresh(), audit: () => views.audit.list() }[state.kind](pending, workers);
      if (!state.signedIn) return;
      showWorkers(workers);
      stop.show(stopped);
      banner("");
    } catch (error) {
      if (error.status === 401) return refused();
      banner(`${error.message}; trying again`);
    }
  }
  clearTimeout(state.timer);
  state.timer = setTimeout(refresh, EVERY);
}

function waitingOf(pending) {
  return new Set(pending.map((approval) => approval.execution_id));
}

async function showExecutions(pending, workers) {
  const values = filters.values();
  const found = await pages.load(values);
  if (!found || values.toString() !== filters.values().toString()) return; // another choice was made, and is being asked for
  const status = values.get("status");
  const idle = workers.length ? "" : "No worker is live. One is started in a shell: `kubiya worker start --queue-id default` ";
  let none = `There are no executions yet. ${idle}An execution is started here, or in a shell: \`kubiya exec agent ops "what fills the disk?"\``;
  if (values.toString()) none = values.size === 1 && status ? `No execution ${status === "failed" ? "has" : "is"} ${statusText(status)}.` : "No execution is like that.";
  if (pages.next) none = "Nothing in this part; go on with Next.";
  lists.executions.show(found, views.executions.chosen, none, waitingOf(pending));
  views.executions.listed(found);
}

async function showInbox(pending) {
  const { executions } = await call("GET", "/executions?status=waiting_for_input&summary=true&limit=100&cursor=");
  const asked = waitingOf(pending);
  lists.inbox.fill(pending, executions.filter((each) => !asked.has(each.id)), views.inbox.chosen);
}

async function showJobs(pending) {
  const [found] = await Promise.all([call("GET", "/jobs?due=true"), views.jobs.refresh()]);
  found.sort((a, b) => a.name.localeCompare(b.name));
  lists.jobs.show(found, views.jobs.chosen, "There is no job yet. A job starts an agent or a team by a schedule, by a webhook, or by hand. One is made here, or in a shell: `kubiya jobs create --help`", waitingOf(pending));
}

function redefined() {
  lists.definitions.forget();
  refresh();
}

function showCount(count) {
  $("inbox-count").hidden = !count;
  $("inbox-count").textContent = count > 99 ? "99+" : String(count);
  $("tab-inbox").setAttribute("aria-label", count ? `Inbox, ${count} open` : "Inbox");
}

function showWorkers(workers) {
  const one = workers.length === 1;
  $("workers").hidden = false;
  const polling = workers.filter(polls).length;
  $("workers").dataset.some = String(polling > 0);
  const words = !workers.length ? "no worker is live" : polling === workers.length ? `${polling} worker${one ? "" : "s"} live` : `${polling} of ${workers.length} workers poll`;
  set($("workers"), words);
  $("workers").title = workers.length ? "Fleet" : "Start one: kubiya worker start --queue-id default";
}

// Other executions are wanted: the list begins anew, and the address says it where the list is what is shown.
function filtered(address) {
  pages.first();
  if (state.kind === "executions" && place().id === null) history.replaceState(null, "", address);
  $("tab-executions").href = address;
  refresh();
}

$("clock").value = clockKind();
$("clock").addEventListener("change", () => choose($("clock").value));
document.addEventListener("visibilitychange", () => document.hidden || refresh());

// -- which view

function route() {
  const { kind, id, words } = place();
  if (state.signedIn && (kind === "audit" || kind === "definitions") && !may(`GET /${kind}`)) return location.replace("#/");
  if (kind === "executions" && id === null && (words || "") !== filters.values().toString()) {
    filters.take(words || "");
    pages.first();
    $("tab-executions").href = filters.address();
  }
  state.kind = kind;
  document.body.dataset.view = id ? "detail" : "list";
  document.body.dataset.kind = kind;
  for (const each of Object.keys(views)) {
    if (each === kind) $(`tab-${each}`).setAttribute("aria-current", "page");
    else $(`tab-${each}`).removeAttribute("aria-current");
    $(`list-${each}`).hidden = each !== kind;
  }
  $("new-what").textContent = ` ${{ jobs: "job", definitions: "definition" }[kind] || "execution"}`;
  needs($("new"), NEW[kind] || NEW.executions);
  if (id === null || id !== views[kind].chosen) {
    leave();
    if (id && state.signedIn) views[kind].open(id, words);
  } else views[kind].look?.(words);
  refresh();
}

function leave() {
  for (const view of Object.values(views)) view.leave();
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close(); // Back leads away from below it
  const [reads, acts, route] = NOTHING[state.kind];
  nothing(el("p", {}, may(route) ? acts : reads));
  document.title = "Kubiya";
}

$("new").addEventListener("click", () => {
  if (state.kind === "jobs") form.open();
  else if (state.kind === "definitions") location.hash = addressOf($("definition-kind").value || "Agent", null);
  else start.open();
});

// A job was made or changed, `on` some screen. `secret`: of its webhook; shown once, since nobody can ask for it again.
function saved(job, secret, on) {
  views.jobs.keep(job.id, secret);
  if (on.still() && place().id === job.id) {
    $("job-dialog").close();
    refresh();
  } else on.go(`#/jobs/${encodeURIComponent(job.id)}`, `The job “${job.name}” was saved.`);
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
  if (given) history.replaceState(null, "", location.pathname);
  return given ? given[1] : "";
}

const given = takeKey();
window.addEventListener("hashchange", route);
route();
signIn(given);
