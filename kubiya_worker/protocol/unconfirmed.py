"""Events in the result of a step that the control plane has not confirmed yet.

The step's result goes to the workflow while these events are still on their way. Should their worker be killed before
they arrive, they are sent again from here. What an event repeats of the result's message is left out, so that a
history does not hold it twice. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kubiya_worker.protocol.events import Event

MOST: Final = 2_048  # bytes of events that a history takes for it; a step with more waits for the control plane
SAME: Final = "same"  # key of an event: field of its data -> where the message has the same value
_TEXT: Final = "content"  # a tool's output has another name in its event, and a chunk is a part of it
_SHORT: Final = 24  # characters of text that cost less than the name of their place


def packed(events: Sequence[Event], message: Mapping[str, Any]) -> list[Event]:
    """Return the events without what `message` has too."""
    return [_packed(event, message) for event in events]


def _packed(event: Event, message: Mapping[str, Any]) -> Event:
    same = {name: place for name, value in event["data"].items() if (place := _place(name, value, message))}
    if not same:
        return event
    return {**event, "data": {k: v for k, v in event["data"].items() if k not in same}, SAME: same}


def _place(name: str, value: Any, message: Mapping[str, Any]) -> list[Any]:
    """Return [field] or [field, start, end] of the message for a value, or nothing."""
    if not value or (isinstance(value, str) and len(value) < _SHORT):
        return []
    if message.get(name) == value:
        return [name]
    text = message.get(_TEXT)
    start = text.find(value) if isinstance(text, str) and isinstance(value, str) else -1
    return [_TEXT, start, start + len(value)] if start >= 0 else []


def unpacked(events: Sequence[Event], message: Mapping[str, Any]) -> list[Event]:
    """Return the events as they were before `packed`, apart from the order of the fields in their data."""
    whole = []
    for event in events:
        same: Mapping[str, Sequence[Any]] = event.get(SAME) or {}
        data = {**event["data"], **{name: _value(place, message) for name, place in same.items()}}
        whole.append({**{k: v for k, v in event.items() if k != SAME}, "data": data})
    return whole


def _value(place: Sequence[Any], message: Mapping[str, Any]) -> Any:
    field, *bounds = place
    return message[field][slice(*bounds)] if bounds else message[field]


def size(events: Sequence[Event]) -> int:
    """Return the size of packed events in a history, in bytes."""
    return len(json.dumps(events, default=str))
