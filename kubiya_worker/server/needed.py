"""This module finds who still needs an object that is to be deleted, and can end or disable each of them.

Without it an agent that is deleted leaves executions that fail at their next step, schedules that start nothing, and
requests for approval that nobody's rule explains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import names
from kubiya_worker.server.definition_users import naming_model, naming_part
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.runs import resolved
from kubiya_worker.server.shared_parts import without
from kubiya_worker.server.store import approvals as ap
from kubiya_worker.server.store.approvals import Approval, ApprovalQuery
from kubiya_worker.server.store.executions import Execution
from kubiya_worker.server.store.records import Object

MOST_TOLD: Final = 20  # names in a refusal's text; its list has all
MOST_WAITING: Final = 10_000  # requests for approval that are looked through


@dataclass(frozen=True)
class Dependent:
    """A dependent is one object that cannot do its work without the one that is to be deleted.

    `end` does what `becomes` says: cancelled, disabled, rejected, disconnected, changed or deleted.
    """

    kind: str
    id: str
    name: str
    becomes: str
    end: Callable[[], None] = field(repr=False, compare=False)

    def shown(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in ("kind", "id", "name")}

    def __str__(self) -> str:
        return f"{self.kind} {self.name or self.id}"


def listed(needs: Sequence[Dependent]) -> str:
    """Return the needs as a text: the first ones by name, and how many more there are. Pure."""
    first = ", ".join(map(str, needs[:MOST_TOLD]))
    more = len(needs) - MOST_TOLD
    return f"{first} and {more} more" if more > 0 else first


class Needs:
    """Find who needs an object of one organization. `label` says what is gone, for those that end because of it."""

    def __init__(self, plane: Plane, organization_id: str, label: str) -> None:
        self._plane, self._stores, self._organization, self._label = plane, plane.stores, organization_id, label

    # -- by what is deleted

    def of_entity(self, kind: str, entity: Object) -> list[Dependent]:
        """Return who needs an agent or a team: open executions, teams that have the agent, jobs."""
        keys = {entity["id"], entity["name"]}
        needs = self._executions(lambda e: e["entity_id"] == entity["id"])
        needs += self._jobs(lambda job: job["entity_type"] == kind and job["entity_id"] in keys)
        needs += self._hooks(lambda hook: hook["entity_type"] == kind and hook["entity_id"] in keys)
        return needs + (self._teams(entity) if kind == "agent" else [])

    def of_member(self, team: Object) -> list[Dependent]:
        """Return who needs a team as it is: its open executions, which may ask the member at any step."""
        return self._executions(lambda e: e["entity_id"] == team["id"])

    def of_queue(self, queue: Object) -> list[Dependent]:
        """Return who needs a queue: open executions, jobs, hooks, models, and live workers."""
        keys = {queue["id"], queue["name"]}
        needs = self._executions(lambda e: e["queue_id"] == queue["id"])
        needs += self._jobs(
            lambda job: (
                job.get("queue_id") == queue["id"]
                or (job["executor_type"] == "specific_queue" and job["worker_queue_name"] in keys)
            )
        )
        needs += self._hooks(lambda hook: hook["queue"] in keys)
        needs += self._models(queue["id"])
        return needs + [self._worker(w["id"]) for w in self._stores.workers.live(self._organization, queue["id"])]

    def of_environment(self, environment: Object) -> list[Dependent]:
        """Return who needs an environment: its queues with those who need them, jobs, agents and teams with it."""
        keys = {environment["id"], environment["name"]}
        queues = self._stores.queues.list(self._organization)
        queues = [queue for queue in queues if queue["environment_id"] == environment["id"]]
        needs = [need for queue in queues for need in (*self.of_queue(queue), self._queue(queue))]
        known = {(need.kind, need.id) for need in needs}
        jobs = self._jobs(lambda job: job["executor_type"] == "environment" and job["environment_name"] in keys)
        needs += [need for need in jobs if (need.kind, need.id) not in known]
        for kind, store in (("agent", self._stores.agents), ("team", self._stores.teams)):
            for entity in store.list(self._organization):
                kept = [key for key in entity["environment_ids"] if key not in keys]
                if len(kept) < len(entity["environment_ids"]):
                    change = {"environment_ids": kept}
                    end = _later(store.update, entity, change)
                    needs.append(Dependent(kind, entity["id"], entity["name"], "changed", end))
        return needs

    def of_part(self, kind: str, part: Object) -> list[Dependent]:
        """Return who names a skill or an MCP server: agents, teams and environments."""
        stores = {
            "agent": self._stores.agents,
            "team": self._stores.teams,
            "environment": self._stores.environments,
        }
        return [
            Dependent(of, one["id"], one["name"], "changed", _later(stores[of].update, one, change))
            for of, one in naming_part(self._stores, self._organization, kind, part["name"])
            if (change := without(one, kind, part["name"]))
        ]

    def of_model(self, model: Object) -> list[Dependent]:
        """Return who names a model: agents, teams and jobs. They go on naming it: a worker may have one itself."""
        return [
            Dependent(of, one["id"], one["name"], "unchanged", _nothing)
            for of, one in naming_model(self._stores, self._organization, model["name"])
        ]

    def of_rule(self, rule: Object) -> list[Dependent]:
        """Return the requests for approval that wait because of a rule."""
        waiting = self._stores.approvals.search(
            self._organization, ApprovalQuery(status=ap.PENDING), limit=MOST_WAITING
        )
        mine = [approval for approval in waiting if approval.get("rule_id") == rule["id"]]
        return [
            Dependent("approval", a["id"], str(a.get("tool_name") or ""), "rejected", _later(self._reject, a))
            for a in mine
        ]

    # -- by who needs it

    def _executions(self, needs: Callable[[Execution], bool]) -> list[Dependent]:
        executions = [e for e in self._stores.executions.unfinished(self._organization) if needs(e)]
        text = f"Cancelled: {self._label} was deleted"
        return [
            Dependent(
                "execution",
                e["id"],
                f"{e['id']} ({e['status']})",
                "cancelled",
                _later(self._plane.runs.cancel, e, text),
            )
            for e in executions
        ]

    def _jobs(self, needs: Callable[[Object], bool]) -> list[Dependent]:
        jobs = [job for job in self._stores.jobs.list(self._organization) if needs(job)]
        return [Dependent("job", job["id"], job["name"], "disabled", _later(self._disable, job)) for job in jobs]

    def _hooks(self, needs: Callable[[Object], bool]) -> list[Dependent]:
        hooks = [hook for hook in self._stores.hooks.list(self._organization) if needs(hook)]
        change = {"enabled": False}
        return [
            Dependent("hook", hook["id"], hook["name"], "disabled", _later(self._stores.hooks.update, hook, change))
            for hook in hooks
        ]

    def _models(self, queue_id: str) -> list[Dependent]:
        """Return the models of a queue. One of this queue only goes with it: without a queue it would be of all."""
        needs = []
        for model in self._stores.models.list(self._organization):
            if queue_id in model["queues"]:
                kept = [each for each in model["queues"] if each != queue_id]
                end = _later(self._stores.models.update, model, {"queues": kept})
                end = end if kept else _later(self._stores.models.delete, model)
                needs.append(Dependent("model", model["id"], model["name"], "changed" if kept else "deleted", end))
        return needs

    def _teams(self, agent: Object) -> list[Dependent]:
        needs = []
        for team in self._stores.teams.list(self._organization):
            ids = team["configuration"].get("member_ids")
            kept = [key for key in ids if key not in (agent["id"], agent["name"])] if isinstance(ids, list) else ids
            if kept != ids:
                change = {"configuration": {**team["configuration"], "member_ids": kept}}
                end = _later(self._stores.teams.update, team, change)
                needs.append(Dependent("team", team["id"], team["name"], "changed", end))
        return needs

    def _worker(self, worker_id: str) -> Dependent:
        about = {"reason": f"{self._label} was deleted"}
        end = _later(self._stores.workers.disconnect, self._organization, worker_id, about)
        return Dependent("worker", worker_id, "", "disconnected", end)

    def _queue(self, queue: Object) -> Dependent:
        return Dependent("queue", queue["id"], queue["name"], "deleted", _later(self._stores.queues.delete, queue))

    def _disable(self, job: Object) -> None:
        self._stores.jobs.update(job, {"enabled": False, "error_message": f"Disabled: {self._label} was deleted"})
        known = self._plane.scheduler.get(job["id"])
        if known:
            self._plane.scheduler.set(job["id"], replace(known, paused=True))

    def _reject(self, approval: Approval) -> None:
        """Reject a request whose rule goes: nothing that waited for a yes may run without one."""
        reason = f"Rejected: {self._label} was deleted"
        ended = self._stores.approvals.resolve(approval, ap.REJECTED, {"rejection_reason": reason})
        self._plane.runs.publish(approval["execution_id"], [resolved(ended)])
        execution = self._stores.executions.get(self._organization, approval["execution_id"])
        if execution is not None:
            about = {"approval_id": approval["id"], "decision": ap.REJECTED, "reason": reason, "resolved_at": ev.now()}
            approver = {"name": self._label, "email": None}
            self._plane.runs.signal(execution, names.RESOLVE_APPROVAL, {**about, "approver": approver})


def _nothing() -> None:
    pass


def _later(act: Callable[..., Any], *arguments: Any) -> Callable[[], None]:
    def end() -> None:
        act(*arguments)

    return end
