"""This module joins the control plane's parts in one object: its stores, Temporal, and the clients that follow logs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import search
from kubiya_worker.protocol.events import Event
from kubiya_worker.protocol.servers import DEGRADED
from kubiya_worker.secret_sources import Sources
from kubiya_worker.server import shared_parts, stored_models
from kubiya_worker.server.auth import Keys
from kubiya_worker.server.conversations import Conversations, number_of
from kubiya_worker.server.hooks.pace import HookPace
from kubiya_worker.server.locks import Locks
from kubiya_worker.server.mcp_forms import ClosedForms
from kubiya_worker.server.notify import events as notices
from kubiya_worker.server.notify.budget import SpentBudget
from kubiya_worker.server.notify.notifier import Notifier
from kubiya_worker.server.oidc import Provider
from kubiya_worker.server.outbox import Sender
from kubiya_worker.server.precedence import Precedence
from kubiya_worker.server.readers import Readers
from kubiya_worker.server.schedules import Scheduler
from kubiya_worker.server.sealing import KeyFile, KeyInMemory, KeySource, NoKey, Seal
from kubiya_worker.server.sessions import Sessions
from kubiya_worker.server.store import approvals as ap
from kubiya_worker.server.store import outbox, schema
from kubiya_worker.server.store.address import Place, PostgresAddress
from kubiya_worker.server.store.answer_tokens import AnswerTokens
from kubiya_worker.server.store.approvals import Approval, Approvals
from kubiya_worker.server.store.audit import Audit
from kubiya_worker.server.store.database import MEMORY, now
from kubiya_worker.server.store.deliveries import Deliveries
from kubiya_worker.server.store.events import Events
from kubiya_worker.server.store.executions import Execution, Executions, next_status
from kubiya_worker.server.store.hooks import Hooks
from kubiya_worker.server.store.jobs import Jobs
from kubiya_worker.server.store.notification_deliveries import NotificationDeliveries
from kubiya_worker.server.store.opened import open_database
from kubiya_worker.server.store.records import Object, Records
from kubiya_worker.server.store.removals import KeepLimits, Removals
from kubiya_worker.server.store.replies import Replies
from kubiya_worker.server.store.results import Results
from kubiya_worker.server.store.run_files import RunFiles
from kubiya_worker.server.store.schedules import Schedules
from kubiya_worker.server.store.secrets import Secrets, sealed_before
from kubiya_worker.server.store.stops import Stops
from kubiya_worker.server.store.versions import Versions
from kubiya_worker.server.store.workers import Workers
from kubiya_worker.server.temporal import Temporal, Workflow
from kubiya_worker.server.temporal_schedules import TemporalSchedules
from kubiya_worker.server.watchers import Watchers

OUTCOME: Final = ("status", "started_at", "completed_at", "error_message")
KEY_NAME: Final = "secrets.key"  # the file beside the database


def workflow_of(execution: Execution) -> Workflow:
    return Workflow(execution["id"], execution["execution_type"], execution["queue_id"])


class Plane:
    def __init__(
        self,
        database: Place,
        temporal: Temporal,
        *,
        litellm_url: str = "",
        litellm_key: str = "",
        secrets_key: KeySource | None = None,
        sources: Sources | None = None,
        files: Path | None = None,
    ) -> None:
        """Open the stores. `secrets_key` seals what the database must not show; by default a file beside it does.

        `files` is the folder for files of runs.
        """
        self.place = database
        self.database = open_database(database)
        self.seal = Seal(secrets_key or self._key_beside(database))
        self.secrets = Secrets(self.database, self.seal)
        self.sources = sources or Sources.allowed(os.environ)
        self.temporal = temporal
        self.litellm_url, self.litellm_key = litellm_url, litellm_key
        self.audit = Audit(self.database)
        self.keys = Keys(self.database)
        self.sessions = Sessions(self.database, self.keys)
        self.oidc: Provider | None = None  # set before the first request, where one is configured
        self.environments = Records(self.database, schema.environments, "environment")
        self.queues = Records(self.database, schema.queues, "queue")
        self.agents = Records(self.database, schema.agents, "agent")
        self.teams = Records(self.database, schema.teams, "team")
        self.rules = Records(self.database, schema.rules, "rule")
        self.skills = Records(self.database, schema.skills, shared_parts.SKILL)
        self.mcp_servers = Records(self.database, schema.mcp_servers, shared_parts.SERVER)
        self.models = Records(self.database, schema.models, stored_models.KIND)
        self.workers = Workers(self.database)
        self.executions = Executions(self.database, self.seal)
        self.events = Events(self.database)
        self.turns = Precedence(self.events.known)
        self.results = Results(self.database)
        self.run_files = RunFiles(self.database, database, files)
        self.approvals = Approvals(self.database)
        self.outbox = outbox.Outbox(self.database)
        self.conversations = Conversations(self.results, self.events)
        self.sender = Sender(
            self.outbox,
            temporal,
            find=self.workflow,
            refused=self._never_started,
            go_on=self._going_on,
            labels=self._labels,
        )
        self.jobs = Jobs(self.database, self.seal)
        self.deliveries = Deliveries(self.database)
        self.notifications = Records(self.database, schema.notifications, "notification")
        self.notification_deliveries = NotificationDeliveries(self.database)
        self.notifier = Notifier(
            self.notifications, self.notification_deliveries, self.secrets, self.sources, answering=self._answering
        )
        self.stirred: set[str] | None = None  # executions with events since the last look at budgets; None before it
        self.spent: dict[str, SpentBudget] = {}  # by execution
        self.slack_signatures: dict[str, float] = {}  # of presses that came, until when each holds
        self.answer_tokens = AnswerTokens(self.database)
        self.hooks = Hooks(self.database)
        self.hook_pace = HookPace()
        self.replies = Replies(self.database)
        self.stops = Stops(self.database)
        self.versions = Versions(self.database)
        self.timetables = TemporalSchedules(temporal)
        self.scheduler = Scheduler(Schedules(self.database), self.timetables, refused=self._never_scheduled)
        self.locks = Locks(self.database)
        self.removals = Removals(self.database)
        self.limits = KeepLimits()
        self.began = time.time()
        self.closing = asyncio.Event()
        self.watchers = Watchers(self.events)
        self.readers = Readers()
        self.forms = ClosedForms()

    def _key_beside(self, database: Place) -> KeySource:
        if isinstance(database, PostgresAddress):
            return NoKey()
        if database == MEMORY:
            return KeyInMemory()
        return KeyFile(database.with_name(KEY_NAME), lambda: sealed_before(self.database))

    def shared_part(self, organization_id: str, kind: str, name: str) -> Object | None:
        """Return a skill or an MCP server that definitions name."""
        return (self.skills if kind == shared_parts.SKILL else self.mcp_servers).find(organization_id, name)

    def naming_part(self, organization_id: str, kind: str, name: str) -> list[tuple[str, Object]]:
        """Return (kind, definition) of each agent, team and environment that names a skill or an MCP server."""
        stores = {"agent": self.agents, "team": self.teams, "environment": self.environments}
        every = ((of, one) for of, store in stores.items() for one in store.list(organization_id))
        return [(of, one) for of, one in every if (kind, name) in shared_parts.named_in(one)]

    def users_of_part(self, organization_id: str, kind: str, name: str) -> list[dict[str, str]]:
        """Return {kind, id, name} of who names a skill or an MCP server."""
        found = self.naming_part(organization_id, kind, name)
        return [{"kind": of, "id": str(one["id"]), "name": str(one["name"])} for of, one in found]

    def naming_model(self, organization_id: str, name: str) -> list[tuple[str, Object]]:
        """Return (kind, definition) of each agent, team and job that names a model."""
        stores = {"agent": self.agents, "team": self.teams, "job": self.jobs}
        every = ((of, one) for of, store in stores.items() for one in store.list(organization_id))
        return [(of, one) for of, one in every if name in stored_models.named_by(one)]

    def users_of_model(self, organization_id: str, name: str) -> list[dict[str, str]]:
        """Return {kind, id, name} of who names a model."""
        found = self.naming_model(organization_id, name)
        return [{"kind": of, "id": str(one["id"]), "name": str(one["name"])} for of, one in found]

    # -- the log of an execution

    def publish(self, execution_id: str, events: Sequence[Event]) -> int:
        """Append events to the log and wake the watchers, which read after the transaction.

        Return how many events are new.
        """
        with self.database.transaction():
            new = self.events.append(execution_id, events)
        if self.stirred is not None:
            self.stirred.add(execution_id)
        self.watchers.grew(execution_id)
        return new

    def close(self) -> None:
        """End every stream: clients connect to the next server with the number of their last event."""
        self.closing.set()
        self.watchers.wake_all()

    # -- changes of an execution

    def change(
        self, execution: Execution, changes: dict[str, Any], *, by_worker: bool = False, told: Sequence[Event] = ()
    ) -> Execution:
        """Apply a PATCH: the row and its events in one transaction; a final status never changes.

        `told` are events of the change that come before it in the log.
        """
        if by_worker:
            changes = _of_this_run(execution, changes)
        before, text = execution["status"], execution.get("error_message")
        asked = str(changes.get("status") or before).lower()
        if ex.is_final(before) and asked != before:
            return execution
        status = next_status(before, asked, by_worker=by_worker)
        if before == ex.PAUSED == status != asked:
            execution["status_before_pause"] = asked  # the status that a resume restores
        execution.update({k: v for k, v in changes.items() if k != "status"}, status=status)
        if ex.is_final(status):
            execution["completed_at"] = execution.get("completed_at") or now()
        events = list(told)
        with self.database.transaction():
            if status != before:
                about = {"status": status, "execution_id": execution["id"]}
                if ex.is_final(status):
                    events += self._close_approvals(execution)
                events.append({"event_type": ev.STATUS, "data": about})
                if ex.is_final(status):
                    done = {**about, "response": execution.get("response"), "usage": execution.get("usage") or {}}
                    if execution.get("error_message"):
                        done["error"] = execution["error_message"]
                    lacking = (execution.get("execution_metadata") or {}).get(DEGRADED)
                    if lacking:  # parts that the execution had to run without
                        done["metadata"] = {DEGRADED: lacking}
                    number = number_of(execution)
                    event_id = f"done:{execution['id']}{f':{number}' if number else ''}"
                    events.append({"event_id": event_id, "event_type": ev.DONE, "data": done})
            self.executions.save(execution)
            if status != before and ex.is_final(status):
                self._answer_hook(execution)
            if status != before and not by_worker:
                sides = ({"status": before, "error_message": text}, {"status": status, **_why(execution)})
                self.executions.told(execution, "", *sides)
            if events:
                self.publish(execution["id"], events)
            if status == ex.FAILED != before:
                job = self.jobs.of_run(execution["id"])
                self.notifier.tell(execution["organization_id"], notices.of_failure(execution, job))
        return execution

    def _answer_hook(self, execution: Execution) -> None:
        """Store, with the execution's end, that its answer goes back to where its alert came from."""
        hook_id = (execution.get("hook") or {}).get("id")
        hook = self.hooks.find(execution["organization_id"], hook_id) if hook_id else None
        if hook is not None and hook["id"] == hook_id and hook.get("reply"):
            self.replies.add(execution["id"], hook_id)

    def cancel(self, execution: Execution, text: str) -> Execution:
        """Cancel an execution that is open; `text` says why, to its readers."""
        note = {
            "role": "system",
            "content": text,
            "message_id": f"{execution['id']}_cancel_{time.time_ns() // 1000}",
            "timestamp": ev.now(),
        }
        with self.database.transaction():
            self.outbox.withdraw_start(execution["id"])
            self.tell(execution, outbox.CANCEL)
            event = ev.event(f"message:{note['message_id']}", ev.MESSAGE, note)
            return self.change(execution, {"status": ex.CANCELLED, "error_message": text}, told=[event])

    def _close_approvals(self, execution: Execution) -> list[Event]:
        """Close the open approval requests of an execution that is over."""
        over = {"rejection_reason": f"The execution is {execution['status']}"}
        pending = self.approvals.pending_of(execution["id"])
        return [resolved(self.approvals.resolve(approval, ap.EXPIRED, over)) for approval in pending]

    def _never_started(self, execution_id: str, why: str) -> None:
        """Fail an execution whose start Temporal refuses for good."""
        organization_id = self.executions.owner(execution_id)
        execution = self.executions.get(organization_id, execution_id) if organization_id else None
        if execution is not None:
            self.change(execution, {"status": ex.FAILED, "error_message": f"Temporal refuses to start it: {why}"})

    def _going_on(self, execution_id: str, argument: dict[str, Any]) -> dict[str, Any]:
        """Return the input of a workflow that goes on, now that the run before it has closed."""
        organization_id = self.executions.owner(execution_id)
        execution = self.executions.get(organization_id, execution_id) if organization_id else None
        if execution is None:  # deleted meanwhile: its workflow finds that out
            return argument
        with self.database.transaction():
            return {**argument, "sequel": {**argument["sequel"], **self.conversations.go_on(execution)}}

    def _labels(self, execution_id: str) -> dict[str, str]:
        """Return the search attributes of an execution, as names that people know."""
        organization_id = self.executions.owner(execution_id)
        execution = self.executions.get(organization_id, execution_id) if organization_id else None
        if execution is None:
            return {}
        kind = search.TEAM if execution["execution_type"] == "team" else search.AGENT
        person = execution.get("user_email") or execution.get("user_name") or execution.get("requested_by")
        found = {
            kind: execution["entity_name"],
            search.QUEUE: execution["runner_name"],
            search.ORGANIZATION: execution["organization_id"],
            search.PERSON: person,
            search.STATUS: execution["status"],
        }
        return {name: str(value) for name, value in found.items() if value}

    def _never_scheduled(self, job_id: str, why: str) -> None:
        """Mark a job whose schedule Temporal refuses for good."""
        for job in self.jobs.every():
            if job["id"] == job_id:
                text = f"Temporal refuses its schedule: {why}"
                with self.database.transaction():
                    job = self.jobs.update(job, {"error_message": text})
                    self.notifier.tell(job["organization_id"], notices.of_job(job, text))

    def _answering(self, definition: Object, approval_id: str) -> str | None:
        """Return the token for an answer from a message, or an empty text where nobody may answer by it.

        None: the request does not wait any more.
        """
        organization_id, channel = definition["organization_id"], definition["channel"]
        approval = self.approvals.get(organization_id, approval_id)
        if approval is None or approval["status"] != ap.PENDING or ap.overdue(approval, datetime.now(UTC)):
            return None
        person = channel.get("person")
        if person and not self.keys.persons(organization_id, person):
            person = None  # nobody with this e-mail has a key: the message opens the page only
        if not person and not channel.get("persons"):
            return ""
        return self.answer_tokens.make(approval, definition["id"], person)

    # -- actions for Temporal

    def workflow(self, execution_id: str) -> Workflow | None:
        place = self.executions.place(execution_id)
        return Workflow(execution_id, *place) if place else None

    def tell(self, execution: Execution, kind: str, argument: dict[str, Any] | None = None) -> None:
        """Store an action on the execution's workflow and send it; call this in the transaction that causes it."""
        self.outbox.add(execution["id"], kind, argument)
        self.sender.wake(execution["id"])

    def signal(self, execution: Execution, name: str, *args: Any) -> None:
        self.tell(execution, outbox.SIGNAL, {"name": name, "args": list(args)})


def _of_this_run(execution: Execution, changes: dict[str, Any]) -> dict[str, Any]:
    """Return a worker's changes without the outcome of a run that ended before the execution went on: it comes late."""
    number = changes.get("sequel", 0)
    late = OUTCOME if number < number_of(execution) else ()
    return {name: value for name, value in changes.items() if name != "sequel" and name not in late}


def _why(execution: Execution) -> dict[str, Any]:
    return {"error_message": execution.get("error_message")}


def resolved(approval: Approval) -> Event:
    """Return the event that says how a request for approval ended."""
    keys = (
        *("execution_id", "status", "tool_name", "tool_execution_id"),
        *("approved_by_email", "approved_by_name", "rejection_reason"),
    )
    data = {"approval_id": approval["id"], **{key: approval.get(key) for key in keys}}
    return ev.event(f"approval_resolved:{approval['id']}", ev.APPROVAL_RESOLVED, data)
