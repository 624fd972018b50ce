"""These checks compare a finished run in every place: its row, the API, its session, the stream, its analytics (W1)."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any, Final

import requests

from tests.support.published_stack import PublishedStack
from tests.support.stack import wait_until

Object = dict[str, Any]
TERMINAL = ("done", "error")


SHELL: Final = {"name": "mine", "type": "shell", "configuration": {"timeout": 60}}


def shell(command: str, tool: str = "shell") -> Object:
    """A call of the Shell that the server attaches to each agent, which knows a few commands only."""
    return {"tools": [{"name": tool, "arguments": {"command": command}}]}


def mine(command: str) -> Object:
    """A call of the skill SHELL, which has another name because of the attached one, and knows every command."""
    return shell(command, "mine_shell")


class WatchedRun:
    """A client that watches an execution from its start, in a thread of its own."""

    def __init__(self, stack: PublishedStack, execution_id: str) -> None:
        self.stack, self.id = stack, execution_id
        self.events: list[Object] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        try:
            for event in self.stack.watch(self.id, timeout=120):
                self.events.append(event)
        except (requests.RequestException, AssertionError) as error:
            self.events.append({"event": "broken off", "data": {"error": str(error)}})

    def end(self, timeout: float = 60.0) -> list[Object]:
        """All events, once the stream has ended by itself with a terminal one."""
        self._thread.join(timeout)
        assert not self._thread.is_alive() and self.events, f"the stream of {self.id} has not ended"
        assert self.events[-1]["event"] in TERMINAL, [e["event"] for e in self.events[-5:]]
        return self.events

    def first(self, kind: str, timeout: float = 60.0, where: Callable[[Object], bool] = bool) -> Object:
        """The data of the first event of a type."""
        found: list[Object] = []

        def come() -> bool:
            found[:] = [d for d in of(self.events, kind) if where(d)]
            return bool(found)

        try:
            wait_until(come, timeout, f"a {kind} of {self.id}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {[e['event'] for e in self.events]}") from None
        return found[0]


def of(events: list[Object], kind: str) -> list[Object]:
    """The data of the events of a type, unwrapped."""
    data = [event["data"] for event in events if event["event"] == kind]
    return [d["data"] if set(d) == {"data", "timestamp"} else d for d in data]


def check(
    stack: PublishedStack,
    watched: WatchedRun,
    status: str,
    *,
    response: str | None = None,
    error: str | None = None,
    optional: bool = True,
) -> Object:
    """Every place says how the run ended. `optional`: analytics were taken. Returns the row."""
    row = stack.end(watched.id)
    _check_row(stack, row, status, response, error)
    live = watched.end()
    late = list(stack.watch(watched.id))
    for events in (live, late):
        _check_end(events[-1], status, response, error)
    _check_messages(stack, watched.id, live, late)
    _check_writes(stack, watched.id, status, optional)
    return row


def _check_row(stack: PublishedStack, row: Object, status: str, response: str | None, error: str | None) -> None:
    assert row["status"] == status, row
    shown = stack.call("GET", f"/executions/{row['id']}")
    assert shown == {k: v for k, v in row.items() if not k.startswith("_")}
    assert row["started_at"] and row["completed_at"], row
    if response is not None:
        assert row["response"] == response, row
    if error is None:
        assert not row["error_message"] or status == "cancelled", row
    else:
        assert error in row["error_message"], row
    assert not [a for a in stack.world.approvals.values() if a["execution_id"] == row["id"] and _open(a)]


def _open(approval: Object) -> bool:
    """Return whether a request looks as if somebody still waited for it; the server itself never closes one."""
    return bool(approval["status"] == "pending" and not approval["enforcement_context"])


def _check_end(last: Object, status: str, response: str | None, error: str | None) -> None:
    data = last["data"]
    if status == "completed":
        assert (last["event"], data["status"]) == ("done", "completed"), last
        assert response is None or data["response"] == response, last
    else:  # `done` always says completed on the published stream
        assert last["event"] == "error", last
        assert error is None or error in data["error"], last


def _check_messages(stack: PublishedStack, execution_id: str, live: list[Object], late: list[Object]) -> None:
    """The same answer has one id everywhere, and a client that comes late sees each once."""
    session = stack.world.sessions[execution_id]["messages"]
    answers = {m["message_id"]: m["content"] for m in session if m["role"] == "assistant" and m["content"]}
    for key in answers:
        assert re.fullmatch(rf"{execution_id}_assistant_[1-9]\d{{0,3}}", key), key
    numbers = [int(key.rpartition("_")[2]) for key in answers]
    assert numbers == sorted(set(numbers)), numbers
    for events in (live, late):
        shown = [m for m in of(events, "message") if m["role"] == "assistant" and m["content"]]
        assert {m["message_id"]: m["content"] for m in shown} == answers, (shown, answers)
        assert len(shown) == len(answers), shown
    assert all("message_id" in m for m in of(live, "message")), "a message of get_state was sent a second time"
    texts: dict[str, str] = {}
    for kind, data in ((e["event"], of([e], e["event"])[0]) for e in live):
        if kind == "reset_chunks":
            texts.pop(data["message_id"], None)
        elif kind == "message_chunk":
            texts[data["message_id"]] = texts.get(data["message_id"], "") + data["content"]
    assert texts.items() <= answers.items(), (texts, answers)


def _check_writes(stack: PublishedStack, execution_id: str, status: str, optional: bool) -> None:
    """The server took what it was sent; a turn came before the last word on the status."""
    world = stack.world
    about = [
        seen
        for seen in list(world.seen)
        if execution_id in seen.path or (isinstance(seen.body, dict) and seen.body.get("execution_id") == execution_id)
    ]
    refused = [s for s in about if s.status >= 400 and not s.path.endswith("/session")]
    if optional:
        assert not refused, [(s.method, s.path, s.status, s.body) for s in refused]
        turns = [t for t in world.turns.values() if t["execution_id"] == execution_id]
        assert turns or status != "completed", "no turn was posted"
        for call in (c for c in world.tool_calls.values() if c["execution_id"] == execution_id):
            assert call["turn_id"] in {None, *(t["id"] for t in turns)}, call
    else:
        assert not [s for s in refused if not s.path.startswith(OPTIONAL)], refused
    order = [s.path.rpartition("/")[2] for s in about if s.status < 400 and _decides(s)]
    assert order[-1] == execution_id, f"the last word on the status was no PATCH: {order}"
    sessions = [s for s in about if s.method == "POST" and s.path.endswith("/session")]
    assert sessions and sessions[-1].status == 201


OPTIONAL = ("/analytics/", "/skills/", "/execution-environment/")


def _decides(seen: Any) -> bool:
    if seen.method == "POST" and seen.path == "/analytics/turns":
        return True
    return bool(seen.method == "PATCH" and seen.path.startswith("/executions/") and (seen.body or {}).get("status"))
