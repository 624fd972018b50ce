"""This module makes well-formed events of what Bedrock's ConverseStream, and proxies that speak it, really send. Pure.

botocore and pydantic-ai stop at the first event that lacks a field or has one too many.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kubiya_worker.models.wire import finish_reasons
from kubiya_worker.models.wire.native_blocks import CALL, SEALED, TEXT, THINKING, Block, Unreadable, arguments, words
from kubiya_worker.models.wire.numbers import finite, position

Event = dict[str, Any]

_PACKED: Final = b"kubiya-worker/base64:"  # before a sealed thought that is no text
_COUNTS: Final = ("inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens", "cacheWriteInputTokens")


class ConverseEvents:
    """Make the events of one answer."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._open: dict[int, Block] = {}  # by the server's index
        self._last: int | None = None  # the server's index that came last
        self._sealed: dict[int, bytes] = {}  # by the block's number
        self._blocks = 0
        self._calls = 0

    def feed(self, name: str, value: Mapping[str, Any]) -> Iterator[Event]:
        """Yield the events for one of type `name`."""
        at = position(value.get("contentBlockIndex"))
        if name == "messageStart":
            yield {"messageStart": {"role": "assistant"}}
        elif name == "contentBlockStart":
            call = _mapping(value.get("start")).get("toolUse")
            if isinstance(call, Mapping):
                yield from self._call(call, at)
        elif name == "contentBlockDelta":
            yield from self._delta(_mapping(value.get("delta")), self._last if at is None else at)
        elif name == "contentBlockStop":
            yield from self._close(self._last if at is None else at)
        elif name == "messageStop":
            yield from self._stop(value.get("stopReason"))
        elif name == "metadata":
            yield from self._metadata(value.get("usage"))

    def whole(self, answer: Mapping[str, Any]) -> Iterator[Event]:
        """Yield the events of an answer that came as one object, as Converse without a stream has it."""
        for part in _mapping(_mapping(answer.get("output")).get("message")).get("content") or ():
            call, thought = _mapping(part).get("toolUse"), _mapping(part).get("reasoningContent")
            if isinstance(call, Mapping):
                yield from self._call(call, None)
                yield from self._delta({"toolUse": {"input": arguments(call.get("input"))}}, self._last)
            elif isinstance(thought, Mapping):
                for name, piece in {**thought, **_mapping(thought.get("reasoningText"))}.items():
                    yield from self._delta({"reasoningContent": {name: piece}}, self._blocks)
            else:
                yield from self._delta(_mapping(part), self._blocks)
            yield from self._close(self._last)
        yield from self._stop(answer.get("stopReason"))
        yield from self._metadata(answer.get("usage"))

    def _begin(self, kind: str, at: int | None, identity: str = "") -> Block:
        at = self._blocks if at is None else at
        block = Block(self._blocks, kind, identity)
        self._open[at], self._last = block, at
        self._blocks += 1
        self._calls += kind == CALL
        return block

    def _call(self, call: Mapping[str, Any], at: int | None) -> Iterator[Event]:
        name, identity = words(call.get("name")).strip(), words(call.get("toolUseId"))
        if not name:
            raise Unreadable("a call without a name")
        yield from self._close_for(at)
        block = self._begin(CALL, at, identity)
        start = {"toolUse": {"toolUseId": identity, "name": name}}
        yield {"contentBlockStart": {"contentBlockIndex": block.number, "start": start}}

    def _delta(self, delta: Mapping[str, Any], at: int | None) -> Iterator[Event]:
        call, thought = delta.get("toolUse"), delta.get("reasoningContent")
        if isinstance(call, Mapping):
            block = self._open.get(at) if at is not None else None
            if block is None or block.kind != CALL:
                raise Unreadable("arguments of a call that has not begun")
            piece = arguments(call.get("input"))
            if piece:
                yield _piece(block, {"toolUse": {"input": piece}})
        elif isinstance(thought, Mapping):
            yield from self._thought(thought, at)
        elif words(delta.get("text")):
            block, closed = self._of(TEXT, at)
            yield from closed
            yield _piece(block, {"text": words(delta["text"])})

    def _of(self, kind: str, at: int | None) -> tuple[Block, list[Event]]:
        """Return the block that a piece belongs to, and what ends the one that it does not belong to."""
        block = self._open.get(at) if at is not None else None
        if block is not None and block.kind == kind:
            self._last = at
            return block, []
        closed = list(self._close_for(at))
        return self._begin(kind, at), closed

    def _close_for(self, at: int | None) -> Iterator[Event]:
        """End what a new block at `at` ends: the block there, and thoughts, which are never written side by side."""
        for place, block in list(self._open.items()):
            if place == at or block.kind in (THINKING, SEALED):
                yield from self._close(place)

    def _thought(self, thought: Mapping[str, Any], at: int | None) -> Iterator[Event]:
        text, sealed = words(thought.get("text")), thought.get("redactedContent")
        if sealed:
            block, closed = self._of(SEALED, at)
            yield from closed
            held = sealed if isinstance(sealed, bytes) else _unpacked(words(sealed))
            self._sealed[block.number] = self._sealed.get(block.number, b"") + held
        elif text or thought.get("signature"):
            block, closed = self._of(THINKING, at)
            yield from closed
            block.sign(thought.get("signature"))
            if text:
                yield _piece(block, {"reasoningContent": {"text": text}})

    def _close(self, at: int | None) -> Iterator[Event]:
        block = self._open.pop(at, None) if at is not None else None
        if block is None:
            return
        if block.signature:
            yield _piece(block, {"reasoningContent": {"signature": block.signature}})
        if block.number in self._sealed:
            yield _piece(block, {"reasoningContent": {"redactedContent": _as_text(self._sealed.pop(block.number))}})
        yield {"contentBlockStop": {"contentBlockIndex": block.number}}

    def _stop(self, reason: Any) -> Iterator[Event]:
        for at in list(self._open):
            yield from self._close(at)
        given = finish_reasons.word_of(reason) or ("tool_use" if self._calls else "end_turn")
        yield {"messageStop": {"stopReason": given}}

    def _metadata(self, usage: Any) -> Iterator[Event]:
        """Yield what was not counted yet, since the package adds the counts of all such events."""
        raw = _mapping(usage)
        found = {name: number for name in _COUNTS if (number := finite(raw.get(name))) is not None and number >= 0}
        counts = {"inputTokens": 0, "outputTokens": 0, **{name: int(number) for name, number in found.items()}}
        total = counts.get("totalTokens", 0)
        if "outputTokens" not in found and total > counts["inputTokens"]:
            counts["outputTokens"] = total - counts["inputTokens"]
        counts.setdefault("totalTokens", counts["inputTokens"] + counts["outputTokens"])
        news = {name: max(0, number - self._counts.get(name, 0)) for name, number in counts.items()}
        self._counts = {name: max(number, self._counts.get(name, 0)) for name, number in counts.items()}
        if any(news.values()):
            yield {"metadata": {"usage": news, "metrics": {"latencyMs": 0}}}


def _piece(block: Block, delta: dict[str, Any]) -> Event:
    block.came = True
    return {"contentBlockDelta": {"contentBlockIndex": block.number, "delta": delta}}


def restored(messages: Any) -> Any:
    """Return a request's messages with the sealed thoughts as Bedrock has sent them (`_as_text`)."""
    if isinstance(messages, list):
        return [restored(message) for message in messages]
    if not isinstance(messages, dict):
        return messages
    sealed = messages.get("redactedContent")
    if isinstance(sealed, bytes) and sealed.startswith(_PACKED):
        return {**messages, "redactedContent": base64.b64decode(sealed.removeprefix(_PACKED))}
    places = ("content", "reasoningContent")
    return {name: restored(value) if name in places else value for name, value in messages.items()}


def _as_text(sealed: bytes) -> bytes:
    """Return bytes that are UTF-8, since the package makes a text of them."""
    try:
        sealed.decode()
    except UnicodeDecodeError:
        return _PACKED + base64.b64encode(sealed)
    return _PACKED + base64.b64encode(sealed) if sealed.startswith(_PACKED) else sealed


def _unpacked(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return text.encode()  # as it is: nobody but its maker reads it


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
