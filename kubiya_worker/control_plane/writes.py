"""What a worker writes to the control plane, as requests that can be made one by one or several at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kubiya_worker.protocol.events import Event


@dataclass(frozen=True)
class Write:
    """One request. `optional`: a 404 is no error. `events`: those of the body, for a server that takes them singly.

    `if_status`: made only when the turn before it in the batch came to this next status.
    """

    method: str
    path: str
    body: dict[str, Any]
    optional: bool = False
    events: list[Event] | None = None
    if_status: str = ""

    def request(self) -> dict[str, Any]:
        """As an entry of a batch."""
        entry = {"method": self.method, "path": self.path, "body": self.body, "optional": self.optional}
        return {**entry, "if_status": self.if_status} if self.if_status else entry


def execution(execution_id: str, **fields: Any) -> Write:
    return Write("PATCH", f"/executions/{execution_id}", fields)


def events(execution_id: str, events: list[Event], after: Sequence[str] = ()) -> Write:
    """In their order. The server drops those whose event_id it has. `after`: ids that have to be there by then."""
    body = {"events": events, **({"after": list(after)} if after else {})}
    return Write("POST", f"/executions/{execution_id}/events/batch", body, events=events)


def session(
    execution_id: str, messages: list[dict[str, Any]], *, user_id: str | None, turn: int, first: int = 0
) -> Write:
    """The conversation from the message with the number `first` on; replaces what is there from that one on."""
    about = {"session_id": execution_id, "user_id": user_id, "metadata": {"turn": turn}}
    body: dict[str, Any] = {**about, "messages": messages}
    body |= {"first": first} if first else {}
    return Write("POST", f"/executions/{execution_id}/session", body)


def turn(record: dict[str, Any]) -> Write:
    """The answer has `next_status` where the control plane decides at once."""
    return Write("POST", "/analytics/turns", record)


def tool_calls(records: list[dict[str, Any]]) -> Write:
    """Records of one execution."""
    return Write("POST", "/analytics/batch", {"execution_id": records[0]["execution_id"], "tool_calls": records})


def agent(agent_id: str, **fields: Any) -> Write:
    """An agent can be deleted while it works."""
    return Write("PATCH", f"/agents/{agent_id}", fields, optional=True)
