"""A prompt cache as strict as Anthropic's, and a scripted endpoint that charges by it.

The rules are those of the public documentation: at most 4 marks; a longer time never after a shorter one; no mark on an
empty text or a thought; nothing below the least size is kept; from a mark it is looked back at most 20 blocks for what
an earlier request has written; a hit has to be the same from the first byte on. What is between the longest hit and the
last mark is written, the rest is plain input. Tokens are counted as a quarter of the bytes.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.support.model_endpoint import Answer, ModelEndpoint

MARKS: Final = 4
LOOKBACK: Final = 20  # blocks
LEAST: Final = 1024  # tokens; of Claude Sonnet 4 and 4.5
SECONDS: Final = {"5m": 300.0, "1h": 3600.0}


class Refused(Exception):
    """The provider answers 400 to such a request."""


@dataclass(frozen=True)
class Charge:
    """Tokens of one request by kind."""

    plain: int
    read: int
    written: int
    marks: int

    @property
    def input(self) -> int:
        return self.plain + self.read + self.written


@dataclass
class PromptCache:
    """A provider's cache of earlier requests. `clock` gives seconds."""

    least: int = LEAST
    clock: Callable[[], float] = time.monotonic
    charges: list[Charge] = field(default_factory=list)
    _kept: dict[str, tuple[float, float]] = field(default_factory=dict)  # hash of a prefix -> (until, seconds)

    def charge(self, body: dict[str, Any], *, collapses: bool = False) -> Charge:
        """Count a request's tokens by kind, and keep what it marks. Raises Refused.

        `collapses`: a run of calls, or of results, counts as one block when it is looked back, as at Anthropic itself.
        """
        blocks = list(blocks_of(body))
        marks = [(at, ttl) for at, (_, ttl) in enumerate(blocks) if ttl]
        if len(marks) > MARKS:
            raise Refused(f"A maximum of {MARKS} blocks with cache_control may be provided. Found {len(marks)}.")
        times = [SECONDS[ttl] for _, ttl in marks]
        if times != sorted(times, reverse=True):
            raise Refused("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block")
        sizes, hashes, total, seen = [], [], 0, hashlib.sha256(str(body.get("model")).encode())
        for text, _ in blocks:
            seen.update(text.encode())
            total += len(text.encode()) // 4 + 1
            sizes.append(total)
            hashes.append(seen.hexdigest())
        now, read = self.clock(), 0
        for at, _ in marks:
            steps = 0
            for back in range(at, -1, -1):
                steps += not (collapses and back < at and _run(blocks[back][0]) and _same_run(blocks, back))
                if steps > LOOKBACK + 1:
                    break
                until, seconds = self._kept.get(hashes[back], (0.0, 0.0))
                if until > now:
                    self._kept[hashes[back]] = (now + seconds, seconds)  # a read renews the time
                    read = max(read, sizes[back])
                    break
        end = read
        for at, ttl in marks:
            if ttl and sizes[at] >= self.least:
                self._kept[hashes[at]] = (now + SECONDS[ttl], SECONDS[ttl])
                end = max(end, sizes[at])
        charge = Charge(total - end, read, end - read, len(marks))
        self.charges.append(charge)
        return charge


def _run(text: str) -> bool:
    return '"type": "tool_use"' in text or '"type": "tool_result"' in text


def _same_run(blocks: list[tuple[str, str | None]], at: int) -> bool:
    kinds = ['"type": "tool_use"' in blocks[place][0] for place in (at, at + 1)]
    return _run(blocks[at + 1][0]) and kinds[0] == kinds[1]


def blocks_of(body: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Return the blocks of a request in the order of the prefix, as text without marks, each with its mark's time.

    Of Anthropic's own shape, or of OpenAI's as a gateway translates it.
    """
    for tool in body.get("tools") or ():
        yield _block(tool, ("tool",))
    system = body.get("system")
    for part in [{"type": "text", "text": system}] if isinstance(system, str) else system or ():
        yield _block(part, ("system",))
    for message in body.get("messages") or ():
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())
        if message.get("cache_control") and parts:  # of a tool's result, in OpenAI's shape
            parts[-1] = {**parts[-1], "cache_control": message["cache_control"]}
        for part in parts:
            if message["role"] == "tool" and isinstance(content, list) and part.get("cache_control"):
                raise Refused("a mark on a part of a tool's message is lost on its way through LiteLLM")
            if any("cache_control" in inner for inner in part.get("content") or () if isinstance(inner, dict)):
                raise Refused("cache_control inside of a tool_result: mark the result itself")
            yield _block(part, (message["role"], message.get("tool_call_id")))
        for call in message.get("tool_calls") or ():
            yield _block(call, ("call",))


def _block(part: dict[str, Any], about: tuple[Any, ...]) -> tuple[str, str | None]:
    bare = {key: value for key, value in part.items() if key != "cache_control"}
    mark = part.get("cache_control")
    if mark is not None:
        if mark.get("type") != "ephemeral" or set(mark) - {"type", "ttl"}:
            raise Refused(f"cache_control: {mark}")
        if part.get("type") in ("thinking", "redacted_thinking") or part.get("text") == "":
            raise Refused("cache_control cannot be set for empty text blocks or thinking blocks")
    return json.dumps([about, bare], sort_keys=True), (mark.get("ttl", "5m") if mark is not None else None)


class CachingEndpoint(ModelEndpoint):
    """A scripted endpoint whose usage is what `cache` charges, in the words of the shape that it is asked in."""

    def __init__(self, *args: Any, cache: PromptCache | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cache = cache or PromptCache()

    def _choose(self, body: dict[str, Any], raw: str) -> Answer:
        if body.get("cache_control") is not None:  # a gateway may not take it, so the product does not send it
            return {"fault": "bad_request", "said": "cache_control: Extra inputs are not permitted"}
        try:
            charge = self.cache.charge(body, collapses=_native(body))
        except Refused as refused:
            return {"fault": "bad_request", "said": str(refused)}
        answer = super()._choose(body, raw)
        return {**answer, "usage": usage_of(charge, answer, native=_native(body))}


def _native(body: dict[str, Any]) -> bool:
    return "system" in body or any("input_schema" in tool for tool in body.get("tools") or ())


def usage_of(charge: Charge, answer: Answer, *, native: bool) -> dict[str, Any]:
    """Anthropic's own usage, or what LiteLLM makes of it: there `prompt_tokens` includes the cached ones."""
    cached = {"cache_creation_input_tokens": charge.written, "cache_read_input_tokens": charge.read}
    out = len(json.dumps(answer.get("tools") or answer.get("text") or "")) // 4 + 1
    if native:
        return {"input_tokens": charge.plain, "output_tokens": out, **cached}
    details = {"prompt_tokens_details": {"cached_tokens": charge.read}}
    return {
        "prompt_tokens": charge.input,
        "completion_tokens": out,
        "total_tokens": charge.input + out,
        **cached,
        **details,
    }
