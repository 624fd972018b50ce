"""This module stops all calls of an organization, lifts the stop, and tells workers what holds now.

A stop pauses every open execution, refuses new ones with 423, and is part of `GET /authority`, which workers ask at
their calls: so a call that was about to begin when the stop came is refused too.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from starlette.routing import Route

from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import names
from kubiya_worker.protocol.events import now
from kubiya_worker.server.api.agents import resolved_skills, store_of
from kubiya_worker.server.call import Call
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import executions as edges
from kubiya_worker.server.edges import filters
from kubiya_worker.server.refusals import ApiError, not_found
from kubiya_worker.server.store.stops import Stop

LOCKED: Final = 423


def check(call: Call) -> None:
    """Answer 423 with who, when and why while the organization is stopped."""
    stop = call.plane.stores.stops.get(call.organization_id)
    if stop is not None:
        at = datetime.fromisoformat(stop["at"]).strftime("%Y-%m-%d %H:%M:%S")
        raise ApiError(
            LOCKED,
            f"All agents were stopped by {stop['by']['name']} at {at} UTC: {stop['reason']}. "
            "Nothing starts until it is lifted: kubiya stop-all --lift",
        )


def shown(stop: Stop | None) -> dict[str, Any]:
    """Return the stop as replies show it: {stopped: false}, or {stopped, by, reason, at, paused: a number}."""
    if stop is None:
        return {"stopped": False}
    return {"stopped": True, **{k: stop[k] for k in ("by", "reason", "at")}, "paused": len(stop["executions"])}


async def get(call: Call) -> Any:
    return shown(call.plane.stores.stops.get(call.organization_id))


async def stop_all(call: Call) -> Any:
    """Stop all calls: one transaction stores the stop and pauses every open execution. A second one changes nothing."""
    plane, reason = call.plane, call.fields["reason"]
    current = plane.stores.stops.get(call.organization_id)
    if current is not None:
        return shown(current)
    with plane.database.transaction():
        paused = []
        for execution in plane.stores.executions.unfinished(call.organization_id):
            before = execution["status"]
            if before == ex.PAUSED:
                continue  # a person paused it, so lifting the stop must not resume it
            plane.runs.signal(execution, names.PAUSE)
            plane.runs.change(execution, {"status": ex.PAUSED, "status_before_pause": before})
            paused.append(execution["id"])
        stop = {"by": call.person.contact(), "reason": reason, "at": now(), "executions": paused}
        plane.stores.stops.set(call.organization_id, stop)
    return shown(stop)


async def lift(call: Call) -> Any:
    """Lift the stop and resume what it paused. Executions that ended or were resumed meanwhile are left alone."""
    plane = call.plane
    stop = plane.stores.stops.get(call.organization_id)
    if stop is None:
        return {**shown(None), "resumed": 0}
    resumed = 0
    with plane.database.transaction():
        for key in stop["executions"]:
            execution = plane.stores.executions.get(call.organization_id, key)
            if execution is None or execution["status"] != ex.PAUSED:
                continue
            plane.runs.signal(execution, names.RESUME)
            plane.runs.change(execution, {"status": execution.get("status_before_pause") or ex.RUNNING})
            resumed += 1
        plane.stores.stops.set(call.organization_id, None)
    return {**shown(None), "resumed": resumed}


async def authority(call: Call) -> Any:
    """Return what holds now for an agent or team: {rules, skills, stopped}.

    `skills` is null for an entity that is not stored here (a dynamic one).
    """
    asked = call.filters(filters.AuthorityFilters)
    entity = store_of(call, asked.kind).find(call.organization_id, asked.entity) if asked.entity else None
    if entity is not None and not call.person.scope.has_agent(entity["id"]):
        raise not_found(asked.kind.capitalize(), asked.entity)
    stop = call.plane.stores.stops.get(call.organization_id)
    return {
        "rules": [r for r in call.plane.stores.rules.list(call.organization_id) if r.get("enabled", True)],
        "skills": resolved_skills(call, entity, asked.kind) if entity is not None else None,
        "stopped": shown(stop) if stop is not None else None,
    }


ROUTES: list[Route] = [
    Edge("GET", "/authority", authority, query=filters.AuthorityFilters),
    Edge("GET", "/stop", get),
    Edge("POST", "/stop", stop_all, body=edges.StopAll, audit="stop.set"),
    Edge("DELETE", "/stop", lift, audit="stop.lift"),
]
