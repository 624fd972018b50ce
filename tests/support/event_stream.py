"""Read server-sent events, and show their texts as a client does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

Frame = dict[str, Any]


def frames(lines: Iterable[str]) -> Iterator[Frame]:
    """Yield the events in the lines of a stream as {id, event, data}; a field that was not sent is absent."""
    frame: Frame = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name in ("id", "event"):
            frame[name] = value
        elif name == "data":
            frame["data"] = json.loads(value)
        elif not line and frame:
            yield frame
            frame = {}


def in_time(deadline: float, lines: Iterable[str], what: str) -> Iterator[str]:
    """Yield the lines, keepalives among them, and fail with `what` when one comes after the deadline."""
    for line in lines:
        assert time.monotonic() < deadline, what
        yield line


def shown_texts(events: Iterable[Frame]) -> list[str]:
    """Return the text of each message as a client shows it: `reset_chunks` removes what was streamed before."""
    texts: dict[str, str] = {}
    for event in events:
        data = event["data"]
        if event["event"] == "reset_chunks":
            texts[data["message_id"]] = ""
        elif event["event"] == "message_chunk":
            texts[data["message_id"]] = texts.get(data["message_id"], "") + data["content"]
    return list(texts.values())
