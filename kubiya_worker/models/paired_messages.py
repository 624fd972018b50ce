"""This module puts a conversation into the order that every provider takes: each call followed by its result. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kubiya_worker.protocol.messages import Message

NO_RESULT: Final = "(no result: this call was not finished)"
# A note before the message that follows a cut answer: a model cannot see by itself that its answer was cut.
_CUT: Final = {
    "length": "(Your answer before this was cut at the token limit.)",
    "size": "(Your answer before this was too large; its end was left out.)",
}


def paired(messages: Sequence[Message]) -> list[Message]:
    """Return `messages` with each tool call answered right after it, as providers refuse a call without its result.

    A call without a result (a cancelled turn) gets NO_RESULT; a result without its call is left out; a result that
    comes late (after another message) moves up to its call.
    """
    results = {str(m.get("tool_call_id")): m for m in messages if m.get("role") == "tool"}
    chosen: list[Message] = []
    for message in messages:
        if message.get("role") == "tool":
            continue
        chosen.append(message)
        for call in message.get("tool_calls") or ():
            missing = {"role": "tool", "content": NO_RESULT, "tool_call_id": call["id"], "tool_name": call["name"]}
            chosen.append(results.get(str(call["id"]), missing))
    return chosen


def with_cut_notes(messages: Sequence[Message]) -> list[Message]:
    """Return `messages`, where a person's message after a cut answer begins with a note of the cut."""
    noted: list[Message] = []
    note = ""
    for message in messages:
        if note and message["role"] == "user":
            message = {**message, "content": f"{note}\n\n{message.get('content') or ''}"}
        noted.append(message)
        answer = message["role"] == "assistant" and not message.get("tool_calls")
        note = _CUT.get(str(message.get("cut") or ""), "") if answer else ""
    return noted
