"""This module writes events of an execution's log as frames of server-sent events."""

from __future__ import annotations

import json
from typing import Final

from kubiya_worker.protocol import events as ev
from kubiya_worker.server.store.stored_events import Stored

FLAT: Final = frozenset({ev.STATUS, ev.DONE, ev.APPROVAL_RESOLVED})


def frame(event_type: str, data: str, event_id: str | None = None) -> str:
    """Return one frame; `data` is one line of JSON."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {event_type}\ndata: {data}\n\n"


def shown(execution_id: str, event: Stored, *, flat: bool = False) -> str:
    """Return the frame of a stored event; `flat` ones carry the data itself, others wrap it with its time."""
    event_id = f"{execution_id}_{event.sequence}_{event.micros}"
    if flat or event.event_type in FLAT:
        return frame(event.event_type, event.data, event_id)
    wrapped = f'{{"data":{event.data},"timestamp":{json.dumps(event.timestamp)}}}'
    return frame(event.event_type, wrapped, event_id)
