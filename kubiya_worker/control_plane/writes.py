"""Writes of a worker to the control plane: the list of all kinds, and the requests that an execution makes.

`KINDS` is the only list of the writes that an execution depends on. A required one waits for a control plane that is
away; an optional one is tried once, and the execution goes on in any case (delivery.py does both).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from kubiya_worker.protocol.events import Event


class WriteKind(NamedTuple):
    """A kind of write has a route, may be required or optional, and says for which reason."""

    name: str
    method: str
    route: str
    required: bool
    why: str


KINDS: Final = (
    WriteKind("registration", "POST", "/worker-queues/{}/start", True, "without it there is no worker"),
    WriteKind("status", "PATCH", "/executions/{}", True, "clients read the row"),
    WriteKind("session", "POST", "/executions/{}/session", True, "the next turn, and who comes late, reads it"),
    WriteKind("event", "POST", "/executions/{}/events", True, "clients watch them; the spool keeps them meanwhile"),
    WriteKind("events", "POST", "/executions/{}/events/batch", True, "as `event`"),
    WriteKind("approval", "POST", "/approvals", True, "a person has to see the question"),
    WriteKind("job_row", "POST", "/executions/job-executions", True, "a scheduled run without a row cannot be shown"),
    WriteKind("job_status", "POST", "/executions/{}/job/{}/status", True, "a job shows how its runs went"),
    WriteKind("execute", "POST", "/{}/{}/execute", True, "it is what a tool was asked to do"),
    WriteKind("message", "POST", "/executions/{}/message", True, "it is what a tool was asked to do"),
    WriteKind("together", "POST", "/batch", True, "it holds required ones"),
    WriteKind("turn", "POST", "/analytics/turns", False, "where it fails the worker decides the next status itself"),
    WriteKind("tool_calls", "POST", "/analytics/batch", False, "figures"),
    WriteKind("tool_call", "POST", "/analytics/tool-calls", False, "figures"),
    WriteKind("task", "POST", "/analytics/tasks", False, "figures"),
    WriteKind("task_status", "PATCH", "/analytics/tasks/{}", False, "figures"),
    WriteKind("agent_status", "PATCH", "/agents/{}", False, "an agent can be deleted while it works"),
    WriteKind(
        "approval_expiry", "POST", "/approvals/{}/expire", False, "the published control plane has no such route"
    ),
    WriteKind("heartbeat", "POST", "/workers/{}/heartbeat", False, "the next one follows"),
    WriteKind("disconnect", "POST", "/workers/{}/disconnect", False, "missing heartbeats say the same, later"),
    WriteKind("queue_deletion", "DELETE", "/worker-queues/{}", False, "the control plane removes what is not used"),
)

_ROUTES: Final = [
    (kind, re.compile(kind.method + " " + kind.route.replace("{}", "[^/]+") + r"(\?.*)?")) for kind in KINDS
]


def kind_of(method: str, path: str) -> WriteKind | None:
    """Return the kind of a request by its path below /api/v1; None for one that is not in the list."""
    return next((kind for kind, route in _ROUTES if route.fullmatch(f"{method} {path}")), None)


@dataclass(frozen=True)
class Write:
    """A write is one request. `events` are those of the body, for a server that takes only single events.

    `if_status`: make the write only when the turn before it in the batch came to this next status.
    """

    method: str
    path: str
    body: dict[str, Any]
    events: list[Event] | None = None
    if_status: str = ""

    @property
    def kind(self) -> WriteKind | None:
        return kind_of(self.method, self.path)

    @property
    def optional(self) -> bool:
        """Return True when an execution goes on without it. A write that is not in `KINDS` is required."""
        return self.kind is not None and not self.kind.required

    def request(self) -> dict[str, Any]:
        """Return it as an entry of a batch."""
        entry = {"method": self.method, "path": self.path, "body": self.body, "optional": self.optional}
        return {**entry, "if_status": self.if_status} if self.if_status else entry


def execution(execution_id: str, **fields: Any) -> Write:
    return Write("PATCH", f"/executions/{execution_id}", fields)


def events(execution_id: str, events: list[Event], after: Sequence[str] = ()) -> Write:
    """Return the write of events, in order. The server drops those whose event_id it has.

    `after`: ids of events that the server has to have before these.
    """
    body = {"events": events, **({"after": list(after)} if after else {})}
    return Write("POST", f"/executions/{execution_id}/events/batch", body, events=events)


def session(
    execution_id: str, messages: list[dict[str, Any]], *, user_id: str | None, turn: int, first: int = 0
) -> Write:
    """Return the write that replaces the stored conversation from message number `first` on."""
    about = {"session_id": execution_id, "user_id": user_id, "metadata": {"turn": turn}}
    body: dict[str, Any] = {**about, "messages": messages}
    body |= {"first": first} if first else {}
    return Write("POST", f"/executions/{execution_id}/session", body)


def turn(record: dict[str, Any]) -> Write:
    """Return the write of a turn. Its answer has `next_status` where the control plane decides at once."""
    return Write("POST", "/analytics/turns", record)


def tool_calls(records: list[dict[str, Any]]) -> Write:
    """Return the write of tool-call records of one execution: all are stored, or none."""
    return Write("POST", "/analytics/batch", {"execution_id": records[0]["execution_id"], "tool_calls": records})


def tool_call(record: dict[str, Any]) -> Write:
    return Write("POST", "/analytics/tool-calls", record)


def job_row(fields: dict[str, Any]) -> Write:
    """Return the write of a scheduled run's row; the same execution_id is the same row."""
    return Write("POST", "/executions/job-executions", fields)


def job_status(execution_id: str, job_id: str, **fields: Any) -> Write:
    return Write("POST", f"/executions/{execution_id}/job/{quote(job_id, safe='')}/status", fields)


def agent(agent_id: str, **fields: Any) -> Write:
    return Write("PATCH", f"/agents/{agent_id}", fields)


def agent_status(kind: str, agent_id: str, status: str) -> list[Write]:
    """Return the write of an agent's status (docs/protocol.md#b6); none for a team, whose row a run leaves alone."""
    return [agent(agent_id, status=status)] if kind == "agent" else []
