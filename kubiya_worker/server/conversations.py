"""This module keeps conversations whole beyond the end of a run: where they go on, and where they may be cut.

A worker stores the session at the end of each turn. What a run that was terminated has not stored is read from the log
of its events. A conversation is cut before a message of a model or of a person, with every call before it answered:
so the part before the cut is valid for every provider.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.protocol import compaction, names
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol.sequel import SPENT, Sequel
from kubiya_worker.server.store.events import Events
from kubiya_worker.server.store.executions import Execution
from kubiya_worker.server.store.results import Results
from kubiya_worker.server.store.stored_events import data_of

KEPT: Final = ("role", "content", "message_id", "timestamp", "tool_calls", "cut", "user_id", "user_name", "user_email")
CUT_OFF: Final = "(no result: this call was not finished)"
ENDED: Final = (ex.COMPLETED, ex.FAILED)  # a run that ended so has posted its last turn


class NoCut(Exception):
    """The conversation cannot be cut there; the text says why."""


@dataclass(frozen=True)
class Cut:
    """A cut keeps the first `length` messages. `said` is the person's message at which, or after which, it was made."""

    length: int
    said: m.Message
    inside: bool  # whether the kept part ends in the middle of the answer to `said`


def cut_at(messages: Sequence[m.Message], message_id: str) -> Cut:
    """Return the cut before the message with this id; raise NoCut. Pure."""
    place = next((n for n, message in enumerate(messages) if str(message.get("message_id")) == message_id), None)
    if place is None:
        raise NoCut("the conversation does not hold that step yet: it is stored at the end of each turn")
    while place and messages[place].get("role") == "tool":
        place -= 1
    kept = messages[:place]
    if messages[place].get("role") == "user":
        return Cut(place, messages[place], inside=False)
    start = next((n for n in range(place - 1, -1, -1) if _asked(messages[n])), None)
    if start is None:
        raise NoCut("no message of a person comes before that step")
    inside = any(message.get("role") in ("assistant", "tool") for message in kept[start:])
    return Cut(place if inside else start, messages[start], inside=inside)


def closed(messages: Sequence[m.Message]) -> list[m.Message]:
    """Return the messages with a result for each tool call, as providers want it. Pure."""
    unanswered = _open_calls(messages)
    whole: list[m.Message] = []
    for message in messages:
        whole.append(message)
        for call in message.get("tool_calls") or ():
            if str(call["id"]) in unanswered:
                of, at = str(message.get("message_id")), str(message.get("timestamp") or "")
                whole.append(_result(of, call, m.TOOL_UNKNOWN, CUT_OFF, at))
    return whole


def _open_calls(messages: Sequence[m.Message]) -> dict[str, m.ToolCall]:
    """Return the calls without a result, by their ids."""
    answered = {str(each.get("tool_call_id")) for each in messages if each.get("role") == "tool"}
    calls = (call for message in messages for call in message.get("tool_calls") or ())
    return {str(call["id"]): call for call in calls if str(call["id"]) not in answered}


def _asked(message: m.Message) -> bool:
    return message.get("role") == "user" and message.get("user_name") != compaction.WORKER


class Conversations:
    def __init__(self, results: Results, events: Events) -> None:
        self._results, self._events = results, events

    def messages(self, execution: Execution, until: int | None = None) -> list[m.Message]:
        """Return the session with what the log has beyond it, up to the number `until`."""
        stored: list[m.Message] = (self._results.session(execution["id"]) or {}).get("messages") or []
        unstored = self._unstored(execution["id"], stored, until)
        if not stored and not unstored:
            unstored = [_prompt(execution)]
        return [*stored, *unstored]

    def _unstored(self, execution_id: str, stored: Sequence[m.Message], until: int | None) -> list[m.Message]:
        """Return the messages of the log that are not stored, and the results of calls that have none there."""
        numbered: list[tuple[int, m.Message]] = []
        known = {str(message.get("message_id")) for message in stored}
        calls = _open_calls(stored)
        for sequence, message_id in self._events.subjects(execution_id, ev.MESSAGE):
            if message_id in known or (until is not None and sequence > until):
                continue
            (event,) = self._events.after(execution_id, sequence - 1, 1)
            data = data_of(event)
            elsewhere = data.get("member") or str(data.get("content") or "").startswith("@")  # a member has heard it
            if data.get("role") == "assistant" or (data.get("role") == "user" and not elsewhere):
                numbered.append((sequence, {name: data[name] for name in KEPT if data.get(name) is not None}))
                calls |= {str(call["id"]): call for call in data.get("tool_calls") or ()}
        if calls:
            for sequence, call_id in self._events.subjects(execution_id, ev.TOOL_COMPLETED):
                if call_id in calls:
                    (event,) = self._events.after(execution_id, sequence - 1, 1)
                    data = data_of(event)
                    text, outcome = data.get("tool_output") or data.get("tool_error"), data.get("outcome")
                    result = _result(execution_id, calls[call_id], str(outcome), str(text or ""), event.timestamp)
                    numbered.append((sequence, {**result, "tainted": True}))  # nobody knows any more whose text it is
        return [message for _, message in sorted(numbered, key=lambda each: each[0])]

    def go_on(self, execution: Execution) -> dict[str, Any]:
        """Make the session whole for a run that goes on, and return where it begins, as Sequel's fields.

        To be called when the run before it has closed, so that its last writes are there.
        """
        sequel = execution.get("sequel") or {}
        execution_id, before = execution["id"], sequel.get("after")
        stored = self._results.session(execution_id) or {}
        whole = self.messages(execution, before)
        if len(whole) > len(stored.get("messages") or ()):
            about = {"session_id": execution_id, "execution_id": execution_id, "user_id": None, "metadata": {}}
            self._results.save_session(execution_id, {**about, **stored, "messages": whole})
        spoken = self._events.subjects(execution_id, ev.MESSAGE, ev.MESSAGE_CHUNK)
        texts = max((names.assistant_number(subject) for _, subject in spoken), default=0)
        spent = (execution.get("execution_metadata") or {}).get(SPENT) or {}
        return {
            "turns": sequel.get("turns", 0),
            "texts": texts if sequel.get("ended") in ENDED else texts + 1,  # a call that was cut off had a number too
            "usage": execution.get("usage") or {},
            "steps": spent.get("steps", texts),
            "seconds": spent.get("seconds", 0.0),
            "limits": spent.get("limits", {}),
        }

    def next_turns(self, execution: Execution) -> int:
        """Return the highest number that a turn of the execution may have, turns that were cut off included."""
        posted = (int(turn.get("turn_number") or 0) for turn in self._results.turns(execution["id"]))
        last = max(posted, default=0)
        last = max(last, int((execution.get("sequel") or {}).get("turns", 0)))
        return last if execution["status"] in ENDED else last + 1


def number_of(execution: Mapping[str, Any]) -> int:
    """Return how often the execution has gone on after its end."""
    return Sequel.parse({"number": (execution.get("sequel") or {}).get("number", 0)}).number


def _prompt(execution: Execution) -> m.Message:
    """Return the first message of an execution that no worker has begun."""
    message_id = names.user_message_id(execution["id"], 1)
    about = {"message_id": message_id, "timestamp": execution["created_at"]}
    return {"role": "user", "content": str(execution["prompt"]), **about}


def _result(of: str, call: m.ToolCall, status: str, text: str, at: str) -> m.Message:
    """Return a tool's message. `of`: the id of what the call belongs to."""
    about = {"message_id": names.tool_message_id(of, call["id"]), "timestamp": at, "tool_call_id": call["id"]}
    return {"role": "tool", "content": text, **about, "tool_name": str(call.get("name") or "tool"), "status": status}
