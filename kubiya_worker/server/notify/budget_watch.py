"""This module looks for executions that have used much of their budget, for the event `budget_near_end`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol.names import RAISE_BUDGET
from kubiya_worker.server.notify import events
from kubiya_worker.server.notify.budget import READ, SpentBudget, percent
from kubiya_worker.server.store import approvals as ap

if TYPE_CHECKING:
    from kubiya_worker.server.plane import Plane
    from kubiya_worker.server.store.executions import Execution


def look(plane: Plane, now: float) -> Iterator[None]:
    """Tell what is so at `now`, one execution at each step, so that requests are answered between two of them.

    Only executions with new events, or that a clock limits, are looked at. What was told before is not told again.
    """
    shares = [
        int(each.get("budget_percent") or events.BUDGET_PERCENT)
        for each in plane.stores.notifications.every()
        if events.BUDGET_NEAR_END in each["events"]
    ]
    if not shares:
        plane.budgets.look_at_all()  # nobody counts the executions that nobody asks about
        return
    execution_ids = plane.budgets.take()
    if execution_ids is None:  # the first look
        still_open = plane.stores.executions.open(datetime.fromtimestamp(now, UTC).isoformat())
        execution_ids = {execution["id"] for execution in still_open}
    for execution_id in execution_ids:
        if _look_at(plane, execution_id, min(shares), now):
            plane.budgets.look_at(execution_id)
        yield


def _look_at(plane: Plane, execution_id: str, least: int, now: float) -> bool:
    """Tell what an execution has used; return whether it is to be looked at again without a new event."""
    organization_id = plane.stores.executions.owner(execution_id)
    execution = plane.stores.executions.get(organization_id, execution_id) if organization_id else None
    budgets = None if execution is None or ex.is_final(execution["status"]) else _limits(plane, execution)
    if execution is None or budgets is None:
        plane.budgets.forget(execution_id)
        return False
    spent = _read(plane, execution_id)
    if spent.raises:
        budgets = _raised(plane, execution, budgets)
    used = spent.used(now)
    if max(percent(budgets, used).values(), default=0) >= least:
        plane.notifier.tell(execution["organization_id"], events.of_budget(execution, budgets, used, spent.raises))
    return budgets.max_seconds is not None  # a tool that runs for long uses it up without a word


def _limits(plane: Plane, execution: Execution) -> ex.Budgets | None:
    """Return the limits of an agent's or a team's run, as its worker takes them; None where they are not stored."""
    store = {"agent": plane.stores.agents, "team": plane.stores.teams}.get(execution["execution_type"])
    entity = store.find(execution["organization_id"], execution["entity_id"]) if store else None
    if entity is None:
        return None
    configuration = (execution.get("request") or {}).get("configuration") or {}
    return ex.Budgets.carried({**entity["configuration"], **configuration})


def _read(plane: Plane, execution_id: str) -> SpentBudget:
    """Return the figures of an execution after its newest event."""
    spent = plane.budgets.of(execution_id)
    for sequence, kind, at, data in plane.stores.events.of_types(execution_id, READ, spent.last):
        spent.take(sequence, kind, at, data)
    return spent


def _raised(plane: Plane, execution: Execution, budgets: ex.Budgets) -> ex.Budgets:
    """Return the limits that people have raised."""
    query = ap.ApprovalQuery(execution_id=execution["id"])
    answers = plane.stores.approvals.search(execution["organization_id"], query, limit=1_000)
    for approval in reversed(answers):  # the oldest first
        if approval.get("tool_name") == RAISE_BUDGET and approval["status"] == ap.APPROVED:
            edited = approval.get("edited_args")
            budgets = budgets.raised((approval.get("tool_args") or {}) if edited is None else edited)
    return budgets
