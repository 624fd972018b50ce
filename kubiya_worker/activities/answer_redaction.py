"""Redacted events of a model's answer while it streams, and its thoughts in a form that may be kept."""

from __future__ import annotations

from typing import Any

from kubiya_worker.activities.publisher import Publisher
from kubiya_worker.models.base import RESET, TEXT, THINKING, THOUGHT, Delta
from kubiya_worker.models.wire import outgoing
from kubiya_worker.protocol import events as ev
from kubiya_worker.tools.redaction import RedactedStream, Redactor


class RedactedAnswer:
    """The events of an answer while it streams (protocol.md#c2). A secret split over two pieces is removed too."""

    def __init__(self, out: Publisher, message_id: str, tag: str, redactor: Redactor) -> None:
        self._out, self._message_id, self._tag = out, message_id, tag
        self._redactor = redactor
        self._text = redactor.stream()
        self._thought: RedactedStream | None = None  # while one is under way
        self._count = 0

    def add(self, delta: Delta) -> None:
        if delta.kind == RESET:
            self._text = self._redactor.stream()
            self._emit("reset", ev.RESET_CHUNKS, {"message_id": self._message_id})
        elif delta.kind == TEXT:
            self._chunk(self._text.feed(delta.content))
        elif delta.kind == THINKING:
            if self._thought is None:
                self._thought = self._redactor.stream()
                self._think(ev.THINKING_START, delta.index)
            self._thinking(self._thought.feed(delta.content), delta.index)
        elif delta.kind == THOUGHT and self._thought is not None:  # one that was sealed has shown nothing
            self._thinking(self._thought.flush(), delta.index)
            self._thought = None
            self._think(ev.THINKING_COMPLETE, delta.index, signature=delta.content)

    def end(self) -> None:
        self._chunk(self._text.flush())

    def _chunk(self, text: str) -> None:
        if text:
            data = {"role": "assistant", "content": text, "is_chunk": True, "message_id": self._message_id}
            self._emit("chunk", ev.MESSAGE_CHUNK, data)

    def _thinking(self, text: str, index: int) -> None:
        if text:
            self._think(ev.THINKING_DELTA, index, thinking=text)

    def _think(self, kind: str, index: int, **data: str) -> None:
        self._emit("thinking", kind, {"message_id": self._message_id, "index": index, **data})

    def _emit(self, name: str, kind: str, data: dict[str, Any]) -> None:
        self._count += 1
        self._out.emit(ev.event(f"{name}:{self._message_id}:{self._tag}:{self._count}", kind, data))


def kept_thought(entry: dict[str, Any], redactor: Redactor) -> dict[str, Any]:
    """Return an entry of a message's `thinking` as it may be kept: without the parts that hold secrets.

    A signed part goes back to the provider unchanged, or not at all.
    """
    if outgoing.ORIGIN in entry:
        return outgoing.unchanged(entry, redactor.value)
    clean: dict[str, Any] = redactor.value(entry)
    return entry if clean == entry else {k: v for k, v in clean.items() if k not in ("signature", "details")}
