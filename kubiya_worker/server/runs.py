"""This module changes executions: in one transaction the row, its log, and what Temporal and people are to be told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol.events import Event
from kubiya_worker.protocol.servers import DEGRADED
from kubiya_worker.server.conversations import number_of
from kubiya_worker.server.notify import events as notices
from kubiya_worker.server.notify.notifier import Notifier
from kubiya_worker.server.notify.spent_budgets import SpentBudgets
from kubiya_worker.server.outbox import Sender
from kubiya_worker.server.store import approvals as ap
from kubiya_worker.server.store import outbox
from kubiya_worker.server.store.approvals import Approval
from kubiya_worker.server.store.database import now
from kubiya_worker.server.store.executions import Execution, next_status
from kubiya_worker.server.stores import Stores
from kubiya_worker.server.watchers import Watchers

OUTCOME: Final = ("status", "started_at", "completed_at", "error_message")


class Runs:
    """Runs do to executions what workers, people and the control plane itself ask for."""

    def __init__(
        self, stores: Stores, sender: Sender, notifier: Notifier, watchers: Watchers, budgets: SpentBudgets
    ) -> None:
        self._stores, self._database = stores, stores.database
        self._sender, self._notifier, self._watchers, self._budgets = sender, notifier, watchers, budgets

    def publish(self, execution_id: str, events: Sequence[Event]) -> int:
        """Append events to the log and wake the watchers, which read after the transaction.

        Return how many events are new.
        """
        with self._database.transaction():
            new = self._stores.events.append(execution_id, events)
        self._budgets.look_at(execution_id)
        self._watchers.grew(execution_id)
        return new

    def change(
        self, execution: Execution, changes: dict[str, Any], *, by_worker: bool = False, told: Sequence[Event] = ()
    ) -> Execution:
        """Apply a PATCH: the row and its events in one transaction; a final status never changes.

        `told` are events of the change that come before it in the log.
        """
        if by_worker:
            changes = _of_this_run(execution, changes)
        before, asked = _shown(execution), str(changes.get("status") or execution["status"]).lower()
        if ex.is_final(before["status"]) and asked != before["status"]:
            return execution
        status = next_status(before["status"], asked, by_worker=by_worker)
        if before["status"] == ex.PAUSED == status != asked:
            execution["status_before_pause"] = asked  # the status that a resume restores
        execution.update({k: v for k, v in changes.items() if k != "status"}, status=status)
        if ex.is_final(status):
            execution["completed_at"] = execution.get("completed_at") or now()
        with self._database.transaction():
            events = [*told, *(self._events_of_status(execution) if status != before["status"] else ())]
            self._stores.executions.save(execution)
            if status != before["status"] and ex.is_final(status):
                self._answer_hook(execution)
            if status != before["status"] and not by_worker:
                self._stores.executions.record_decision(execution, "", before, _shown(execution))
            if events:
                self.publish(execution["id"], events)
            if status == ex.FAILED != before["status"]:
                job = self._stores.jobs.of_run(execution["id"])
                self._notifier.tell(execution["organization_id"], notices.of_failure(execution, job))
        return execution

    def cancel(self, execution: Execution, text: str) -> Execution:
        """Cancel an execution that is open; `text` says why, to its readers."""
        note = {
            "role": "system",
            "content": text,
            "message_id": f"{execution['id']}_cancel_{time.time_ns() // 1000}",
            "timestamp": ev.now(),
        }
        with self._database.transaction():
            self._stores.outbox.withdraw_start(execution["id"])
            self.tell(execution, outbox.CANCEL)
            event = ev.event(f"message:{note['message_id']}", ev.MESSAGE, note)
            return self.change(execution, {"status": ex.CANCELLED, "error_message": text}, told=[event])

    def fail_start(self, execution_id: str, reason: str) -> None:
        """Fail an execution whose start Temporal refuses for good."""
        execution = self._stores.execution_of(execution_id)
        if execution is not None:
            self.change(execution, {"status": ex.FAILED, "error_message": f"Temporal refuses to start it: {reason}"})

    def tell(self, execution: Execution, kind: str, argument: dict[str, Any] | None = None) -> None:
        """Store an action on the execution's workflow and send it; call this in the transaction that causes it."""
        self._stores.outbox.add(execution["id"], kind, argument)
        self._sender.wake(execution["id"])

    def signal(self, execution: Execution, name: str, *args: Any) -> None:
        self.tell(execution, outbox.SIGNAL, {"name": name, "args": list(args)})

    def _events_of_status(self, execution: Execution) -> list[Event]:
        """Return the events of a status that is new. The end of an execution ends its open requests for approval."""
        about = {"status": execution["status"], "execution_id": execution["id"]}
        status_event: Event = {"event_type": ev.STATUS, "data": about}
        if not ex.is_final(execution["status"]):
            return [status_event]
        return [*self._close_approvals(execution), status_event, _done_event(execution)]

    def _close_approvals(self, execution: Execution) -> list[Event]:
        approvals = self._stores.approvals
        answer = {"rejection_reason": f"The execution is {execution['status']}"}
        pending = approvals.pending_of(execution["id"])
        return [resolved(approvals.resolve(approval, ap.EXPIRED, answer)) for approval in pending]

    def _answer_hook(self, execution: Execution) -> None:
        """Store, with the execution's end, that its answer goes back to where its alert came from."""
        hook_id = (execution.get("hook") or {}).get("id")
        hook = self._stores.hooks.find(execution["organization_id"], hook_id) if hook_id else None
        if hook is not None and hook["id"] == hook_id and hook.get("reply"):
            self._stores.replies.add(execution["id"], hook_id)


def resolved(approval: Approval) -> Event:
    """Return the event that says how a request for approval ended. Pure."""
    keys = (
        *("execution_id", "status", "tool_name", "tool_execution_id"),
        *("approved_by_email", "approved_by_name", "rejection_reason"),
    )
    data = {"approval_id": approval["id"], **{key: approval.get(key) for key in keys}}
    return ev.event(f"approval_resolved:{approval['id']}", ev.APPROVAL_RESOLVED, data)


def _done_event(execution: Execution) -> Event:
    """Return the last event of a run: its outcome. Pure."""
    data = {
        "status": execution["status"],
        "execution_id": execution["id"],
        "response": execution.get("response"),
        "usage": execution.get("usage") or {},
    }
    if execution.get("error_message"):
        data["error"] = execution["error_message"]
    lacking = (execution.get("execution_metadata") or {}).get(DEGRADED)
    if lacking:  # parts that the execution had to run without
        data["metadata"] = {DEGRADED: lacking}
    number = number_of(execution)
    event_id = f"done:{execution['id']}{f':{number}' if number else ''}"
    return {"event_id": event_id, "event_type": ev.DONE, "data": data}


def _of_this_run(execution: Execution, changes: dict[str, Any]) -> dict[str, Any]:
    """Return a worker's changes without the outcome of a run that ended before the execution went on: it comes late."""
    number = changes.get("sequel", 0)
    late = OUTCOME if number < number_of(execution) else ()
    return {name: value for name, value in changes.items() if name != "sequel" and name not in late}


def _shown(execution: Execution) -> dict[str, Any]:
    """Return what a record shows of an execution, before and after a change. Pure."""
    return {"status": execution["status"], "error_message": execution.get("error_message")}
