// What a form offers: agents, teams and queues.

import { ApiError, call } from "./api.js";
import { el } from "./text.js";

// Everything that can be given work, {kind: "agent" | "team", id, name, …}. Throws ApiError when there is nothing.
export async function entities() {
  const [agents, teams] = await Promise.all([call("GET", "/agents"), call("GET", "/teams")]);
  const found = [...agents.map((agent) => ({ ...agent, kind: "agent" })), ...teams.map((team) => ({ ...team, kind: "team" }))];
  if (!found.length) throw new ApiError(0, "There is no agent yet. Make one with POST /api/v1/agents");
  return found;
}

export function entityOptions(found) {
  const group = (kind, label) => {
    const options = found.filter((each) => each.kind === kind).map((each) => el("option", { value: each.id }, each.name));
    return options.length ? el("optgroup", { label }, ...options) : null;
  };
  return [group("agent", "Agents"), group("team", "Teams")].filter(Boolean);
}

export function about(entity) {
  if (!entity) return "";
  const members = entity.kind === "team" && entity.agent_ids?.length ? `a team of ${entity.agent_ids.length}` : "";
  return [entity.description, members, entity.model_id && `model ${entity.model_id}`].filter(Boolean).join(" · ");
}

export function queueOptions(queues) {
  return queues
    .filter((queue) => queue.status === "active")
    .map((queue) => el("option", { value: queue.id }, `${queue.name} (${queue.active_workers || "no"} worker${queue.active_workers === 1 ? "" : "s"})`));
}
