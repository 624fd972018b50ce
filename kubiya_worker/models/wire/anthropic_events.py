"""This module makes well-formed events of what servers of Anthropic's Messages API really send. Pure.

Anthropic's package stops at the first event that differs from its description: blocks that share an index, usage that
is null, a call whose arguments come twice. Servers and proxies that speak the same API send all of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from kubiya_worker.models.wire import embedded_errors, finish_reasons
from kubiya_worker.models.wire.native_blocks import CALL, SEALED, TEXT, THINKING, Block, Unreadable, arguments, words
from kubiya_worker.models.wire.numbers import finite, position

Event = dict[str, Any]

_KINDS: Final = {
    "text": TEXT,
    "thinking": THINKING,
    "redacted_thinking": SEALED,
    **dict.fromkeys(("tool_use", "server_tool_use", "mcp_tool_use"), CALL),
}
_OF_DELTA: Final = {
    "text_delta": TEXT,
    "citations_delta": TEXT,
    "thinking_delta": THINKING,
    "signature_delta": THINKING,
    "input_json_delta": CALL,
}
_BEGINNINGS: Final = {
    TEXT: {"type": "text", "text": ""},
    THINKING: {"type": "thinking", "thinking": "", "signature": ""},
}


class AnthropicEvents:
    """Make the events of one answer; `begun` says whether any part of an answer came."""

    def __init__(self) -> None:
        self.begun = False
        self._counts: dict[str, int] = {}
        self._open: dict[int, Block] = {}  # by the server's index
        self._last: int | None = None  # the server's index that came last
        self._blocks = 0
        self._calls = 0
        self._reason = ""
        self._early_reason = ""  # of the start; it counts only if no other comes
        self._over = False

    def error_in(self, value: Mapping[str, Any], name: str) -> Any:
        """Return the error that a value is, or None; an event of a type that nobody knows is none."""
        kind = value.get("type")
        if name == "error" or kind == "error" or value.get("error"):
            return dict(value)
        return None if isinstance(kind, str) else embedded_errors.error_in(value, name)

    def feed(self, value: Mapping[str, Any], name: str) -> Iterator[Event]:
        kind = words(value.get("type")) or name
        if kind == "message" and isinstance(value.get("content"), list):
            yield from self._whole(value)
        elif kind == "message_start":
            yield from self._start(_mapping(value.get("message")))
        elif kind == "content_block_start":
            yield from self._block(_mapping(value.get("content_block")), position(value.get("index")))
        elif kind == "content_block_delta":
            yield from self._delta(_mapping(value.get("delta")), position(value.get("index")))
        elif kind == "content_block_stop":
            at = position(value.get("index"))
            yield from self._close(self._last if at is None else at)
        elif kind == "message_delta":
            yield from self._message_delta(_mapping(value.get("delta")), value.get("usage"))
        elif kind == "message_stop":
            yield from self.end(told=True)

    def end(self, *, told: bool) -> Iterator[Event]:
        """Yield what is left; `told` says that the server marked the end, so the answer is whole without a reason."""
        for at in list(self._open):
            yield from self._close(at)
        if told and not self._reason and (self._blocks or self._early_reason):
            reason = self._early_reason or ("tool_use" if self._calls else "end_turn")
            yield from self._message_delta({"stop_reason": reason}, None)
        if told and self.begun and not self._over:
            self._over = True
            yield {"type": "message_stop"}

    def _whole(self, message: Mapping[str, Any]) -> Iterator[Event]:
        """Yield the events of an answer that came as one object."""
        yield from self._start({**message, "stop_reason": None})
        for block in message["content"]:
            yield from self._block(_mapping(block), None)
            yield from self._close(self._last)
        yield from self._message_delta(message, None)
        yield from self.end(told=True)

    def _start(self, message: Mapping[str, Any]) -> Iterator[Event]:
        usage = self._usage(message.get("usage"))
        if self.begun:
            return
        self.begun = True
        self._early_reason = finish_reasons.word_of(message.get("stop_reason"))
        counts = {"input_tokens": 0, "output_tokens": 0, **usage}
        about = {"id": words(message.get("id")), "model": words(message.get("model")) or None, "usage": counts}
        fields: Event = {
            "type": "message",
            "role": "assistant",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }
        yield {"type": "message_start", "message": {**fields, **{k: v for k, v in about.items() if v is not None}}}

    def _block(self, block: Mapping[str, Any], at: int | None) -> Iterator[Event]:
        yield from self._start({})
        kind = _KINDS.get(words(block.get("type")), "")
        if kind == SEALED and not block.get("data"):
            return  # nothing that could go back
        at = self._blocks if at is None else at
        identity = words(block.get("id"))
        before = self._open.get(at)
        if before is not None and not before.came and (before.kind, before.identity) == (kind, identity):
            return  # the same beginning once more
        for place, other in list(self._open.items()):
            if place == at or other.kind == THINKING:  # thoughts are never written side by side with others
                yield from self._close(place)
        begun = Block(self._blocks, kind, identity)
        self._open[at], self._last = begun, at
        self._blocks += 1
        self._calls += kind == CALL
        fields = dict(block)
        if kind == TEXT:
            fields["text"] = words(block.get("text"))
        elif kind == THINKING:
            begun.sign(block.get("signature"))
            fields["thinking"] = words(block.get("thinking"))
            if "signature" in block:
                fields["signature"] = ""
        elif kind == CALL:
            begun.given = arguments(block.get("input"))
            fields.update(id=identity or None, name=words(block.get("name")), input={})
        yield {"type": "content_block_start", "index": begun.number, "content_block": fields}

    def _delta(self, delta: Mapping[str, Any], at: int | None) -> Iterator[Event]:
        type_ = words(delta.get("type"))
        kind = _OF_DELTA.get(type_, "")
        at = self._last if at is None else at
        block = self._open.get(at) if at is not None else None
        if kind and (block is None or block.kind != kind):
            if kind == CALL:
                raise Unreadable("arguments of a call that has not begun")
            yield from self._block(_BEGINNINGS[kind], at)
            block = self._open[self._last or 0]
        if block is None:
            return
        self._last = at if at is not None else self._last
        if type_ == "signature_delta":
            block.sign(delta.get("signature"))
            return
        piece = dict(delta)
        if type_ == "input_json_delta":
            piece["partial_json"] = arguments(delta.get("partial_json"))
        elif type_ in ("text_delta", "thinking_delta"):
            piece[kind] = words(delta.get(kind))
        block.came = block.came or any(held for name, held in piece.items() if name != "type")
        yield {"type": "content_block_delta", "index": block.number, "delta": piece}

    def _close(self, at: int | None) -> Iterator[Event]:
        block = self._open.pop(at, None) if at is not None else None
        if block is None:
            return
        last: Event = {}
        if block.kind == CALL and block.given and not block.came:
            last = {"type": "input_json_delta", "partial_json": block.given}
        elif block.signature:
            last = {"type": "signature_delta", "signature": block.signature}
        if last:
            yield {"type": "content_block_delta", "index": block.number, "delta": last}
        yield {"type": "content_block_stop", "index": block.number}

    def _message_delta(self, delta: Mapping[str, Any], usage: Any) -> Iterator[Event]:
        yield from self._start({})
        for at in list(self._open):
            yield from self._close(at)
        self._reason = finish_reasons.word_of(delta.get("stop_reason")) or self._reason
        kept = {name: delta.get(name) for name in ("stop_sequence", "stop_details")}
        counts = {"output_tokens": 0, **self._usage(usage)}
        yield {"type": "message_delta", "delta": {**kept, "stop_reason": self._reason or None}, "usage": counts}

    def _usage(self, usage: Any) -> dict[str, Any]:
        """Return the counts so far with those of `usage`; a sum does not fall back to nothing."""
        named = _mapping(usage)
        for name, value in named.items():
            number = finite(value)
            if number is not None and number >= 0 and (number or name not in self._counts):
                self._counts[name] = int(number)
        inner = {name: dict(value) for name, value in named.items() if isinstance(value, Mapping)}
        return {**inner, **self._counts}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
