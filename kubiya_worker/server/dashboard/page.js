// The page: signing in, the list, the execution that is followed, and what a person does about it.

import { ApiError, call, fresh, key } from "./api.js";
import { List } from "./executions.js";
import { Follower } from "./stream.js";
import { FINAL, age, duration, el, oneLine, statusText } from "./text.js";
import { Timeline } from "./timeline.js";

const EVERY = 2000; // ms between two looks at the list
const PAGE = 50;
const $ = (id) => document.getElementById(id);

const state = { limit: PAGE, chosen: null, row: null, follower: null, agents: [], timer: null, signedIn: false };
const list = new List($("rows"), $("empty"));
const timeline = new Timeline($("timeline"), { answer, say });

function say(text) {
  $("said").textContent = text;
}

function banner(text) {
  $("banner").hidden = !text;
  if ($("banner").textContent !== text) $("banner").textContent = text;
}

// -- signing in

function signedOut(message = "") {
  state.signedIn = false;
  key.forget();
  leaveExecution();
  clearTimeout(state.timer);
  banner("");
  for (const id of ["app", "new", "leave", "workers"]) $(id).hidden = true;
  $("start").close();
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
  refresh();
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

// -- the list

async function refresh() {
  clearTimeout(state.timer);
  if (!state.signedIn) return;
  if (!document.hidden) {
    try {
      const filter = $("filter").value;
      const query = `summary=true&limit=${state.limit + 1}${filter ? `&status_filter=${filter}` : ""}`;
      const [found, pending, workers] = await Promise.all([
        call("GET", `/executions?${query}`),
        call("GET", "/approvals/pending"),
        call("GET", "/workers"),
      ]);
      if (!state.signedIn) return;
      const waiting = new Set(pending.map((approval) => approval.execution_id));
      const nothing = filter
        ? `No execution is ${statusText(filter)}.`
        : "Nothing has run yet. Start an execution here, or in a shell: kubiya exec agent ops \"what fills the disk?\"";
      list.show(found.slice(0, state.limit), waiting, state.chosen, nothing);
      $("more").hidden = found.length <= state.limit;
      showWorkers(workers);
      if (state.row) show(); // its age
      banner("");
    } catch (error) {
      if (error.status === 401) return signedOut("The key is not known any more");
      banner(`${error.message}; trying again`);
    }
  }
  clearTimeout(state.timer);
  state.timer = setTimeout(refresh, EVERY);
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

// -- one execution

function route() {
  const found = /^#\/executions\/(.+)$/.exec(location.hash);
  const id = found ? decodeURIComponent(found[1]) : null;
  document.body.dataset.view = id ? "execution" : "list";
  if (id !== state.chosen) {
    leaveExecution();
    if (id && state.signedIn) openExecution(id);
  }
  refresh();
}

function leaveExecution() {
  state.follower?.stop();
  Object.assign(state, { chosen: null, row: null, follower: null });
  $("execution").hidden = true;
  $("nothing").hidden = false;
  document.title = "Kubiya";
}

async function openExecution(id) {
  state.chosen = id;
  $("nothing").replaceChildren(el("p", {}, "Loading …"));
  let row;
  try {
    row = await call("GET", `/executions/${encodeURIComponent(id)}`);
  } catch (error) {
    if (state.chosen !== id) return;
    if (error.status === 401) return signedOut("The key is not known any more");
    $("nothing").replaceChildren(el("p", { role: "alert" }, error.message), el("p", {}, el("a", { href: "#/" }, "All executions")));
    return;
  }
  if (state.chosen !== id) return;
  state.row = row;
  timeline.clear();
  timeline.agent = row.entity_name;
  $("nothing").hidden = true;
  $("nothing").replaceChildren(el("p", {}, "Choose an execution, or start a new one."));
  $("execution").hidden = false;
  $("title").textContent = oneLine(row.prompt, 300);
  $("say").value = "";
  document.title = `${oneLine(row.prompt, 60)} · Kubiya`;
  show();
  $("detail").focus({ preventScroll: true });
  const mine = () => state.chosen === id;
  state.follower = new Follower(id, {
    onEvent: (type, data) => mine() && take(type, data),
    onState: (connected) => mine() && connection(connected),
    onEnd: (refusal) => mine() && ended(refusal),
  });
  state.follower.run();
}

function connection(connected) {
  $("execution").classList.toggle("cut", !connected);
  if (!connected) banner("The connection to the control plane is lost; the execution goes on. Connecting again");
}

function ended(refusal) {
  if (refusal === "401") return signedOut("The key is not known any more");
  if (refusal === "404") timeline.line("error", "This execution was deleted");
  refresh();
}

function take(type, data) {
  const stick = timeline.atEnd();
  timeline.take(type, data);
  if (stick) timeline.toEnd();
  $("latest").hidden = timeline.atEnd();
  if (type === "run_started" || type === "metadata") {
    Object.assign(state.row, { model: data.model || state.row.model, label: data.model_label || state.row.label, began: true });
  }
  if (type === "status" || type === "done") state.row.status = String(data.status).toLowerCase();
  if (type === "status") say(`Execution ${statusText(state.row.status)}`);
  if (type === "done") {
    const error = data.error || "";
    if (error && error !== state.row.told) timeline.line("error", error);
    Object.assign(state.row, { usage: data.usage || {}, completed_at: state.row.completed_at || new Date().toISOString() });
    updateTimes();
  }
  if (!type.startsWith("message") && !type.startsWith("thinking")) show();
}

// The row knows when it began and ended better than this page's clock.
async function updateTimes() {
  const id = state.chosen;
  try {
    const row = await call("GET", `/executions/${encodeURIComponent(id)}`);
    if (state.chosen !== id) return;
    Object.assign(state.row, { started_at: row.started_at, completed_at: row.completed_at, usage: row.usage });
    show();
  } catch {
    // The list says already that nobody answers.
  }
}

function show() {
  const row = state.row;
  const final = FINAL.has(row.status);
  const asks = !final && timeline.asks;
  $("status").textContent = asks ? "needs approval" : statusText(row.status);
  $("status").dataset.status = asks ? "approval" : row.status;
  const took = final && row.started_at ? duration((Date.parse(row.completed_at) - Date.parse(row.started_at)) / 1000) : "";
  const tokens = row.usage?.total_tokens ?? (row.usage?.input_tokens || 0) + (row.usage?.output_tokens || 0);
  const facts = [
    row.entity_name,
    row.label || row.model,
    row.runner_name && `queue ${row.runner_name}`,
    age(row.created_at),
    took && `took ${took}`,
    tokens ? `${tokens.toLocaleString("en")} tokens` : "",
  ];
  $("facts").replaceChildren(...facts.filter(Boolean).map((fact) => el("span", {}, fact)), el("code", { class: "id", title: "Execution id" }, row.id));
  $("pause").hidden = !["running", "waiting_for_input"].includes(row.status);
  $("resume").hidden = row.status !== "paused";
  $("finish").hidden = row.status !== "waiting_for_input" || asks;
  $("cancel").hidden = final;
  $("again").hidden = !final;
  $("composer").hidden = final;
}

function act(id, path, body) {
  $(id).addEventListener("click", async () => {
    $(id).disabled = true;
    try {
      const told = await call("POST", `/executions/${encodeURIComponent(state.chosen)}/${path}`, body);
      if (told && told.success === false) timeline.line("notice", told.error);
    } catch (error) {
      timeline.line("error", error.message);
    }
    $(id).disabled = false;
  });
}

act("pause", "pause", {});
act("resume", "resume", {});
act("finish", "mark-done", {});
act("cancel", "cancel", {});
$("again").addEventListener("click", () => openStart(state.row));
$("latest").addEventListener("click", () => timeline.toEnd());
$("timeline").addEventListener("scroll", () => ($("latest").hidden = timeline.atEnd()), { passive: true });

async function answer(id, decision, reason) {
  const body = decision === "approved" ? { comment: reason || null } : { reason: reason || null };
  await call("POST", `/approvals/${encodeURIComponent(id)}/${decision === "approved" ? "approve" : "reject"}`, body);
}

$("composer").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("say").value;
  const id = state.chosen;
  if (!text.trim()) return;
  try {
    await call("POST", `/executions/${encodeURIComponent(id)}/message`, { message: text, message_id: `${id}_${fresh()}` });
    if ($("say").value === text) $("say").value = "";
    timeline.toEnd();
  } catch (error) {
    timeline.line("error", error.message);
  }
});

// Enter sends, Shift+Enter is a new line, as in every chat; not while an input method composes.
for (const [field, form] of [["say", "composer"], ["prompt", "start-form"]]) {
  $(field).addEventListener("keydown", (event) => {
    const sends = field === "say" ? !event.shiftKey : event.ctrlKey || event.metaKey;
    if (event.key === "Enter" && sends && !event.isComposing) {
      event.preventDefault();
      $(form).requestSubmit();
    }
  });
}

// -- starting one

async function openStart(like = null) {
  $("start-error").textContent = "";
  $("start").showModal();
  try {
    const [agents, queues] = await Promise.all([call("GET", "/agents"), call("GET", "/worker-queues")]);
    state.agents = agents;
    $("agent").replaceChildren(...agents.map((agent) => el("option", { value: agent.id }, agent.name)));
    const choices = queues.filter((queue) => queue.status === "active");
    $("queue").replaceChildren(
      el("option", { value: "" }, "Any with a live worker"),
      ...choices.map((queue) => el("option", { value: queue.id }, `${queue.name} (${queue.active_workers || "no"} worker${queue.active_workers === 1 ? "" : "s"})`)),
    );
    if (!agents.length) throw new ApiError(0, "There is no agent yet. Make one with POST /api/v1/agents");
    if (like && agents.some((agent) => agent.id === like.entity_id)) $("agent").value = like.entity_id;
  } catch (error) {
    $("start-error").textContent = error.message;
  }
  if (like) $("prompt").value = like.prompt;
  aboutAgent();
  $("prompt").focus();
}

function aboutAgent() {
  const agent = state.agents.find((candidate) => candidate.id === $("agent").value);
  $("agent-about").textContent = agent ? [agent.description, agent.model_id && `model ${agent.model_id}`].filter(Boolean).join(" · ") : "";
}

$("agent").addEventListener("change", aboutAgent);
$("new").addEventListener("click", () => openStart());
$("start-close").addEventListener("click", () => $("start").close());
let idempotency = fresh();
$("start-form").addEventListener("input", () => (idempotency = fresh()));
$("start-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("start-go").disabled = true;
  $("start-error").textContent = "";
  try {
    const body = {
      prompt: $("prompt").value,
      worker_queue_id: $("queue").value || null,
      execution_metadata: $("interactive").checked ? { interactive: true } : {},
    };
    const path = `/agents/${encodeURIComponent($("agent").value)}/execute`;
    const made = await call("POST", path, body, { "Idempotency-Key": idempotency });
    idempotency = fresh();
    $("prompt").value = "";
    $("start").close();
    location.hash = `#/executions/${made.execution_id}`;
  } catch (error) {
    if (error.status === 401) signedOut("The key is not known any more");
    else $("start-error").textContent = error.message;
  }
  $("start-go").disabled = false;
});

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
