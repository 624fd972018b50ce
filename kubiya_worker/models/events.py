"""This module reads an answer from pydantic-ai's events; Anthropic, Google and Bedrock use it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Protocol, TypeVar

from pydantic_ai import messages as pai
from pydantic_ai.models import StreamedResponse

from kubiya_worker.models import conversion, faults
from kubiya_worker.models.base import TEXT, THINKING, THOUGHT, Delta, ModelReply
from kubiya_worker.models.connection import Connection

T = TypeVar("T")


class Wait(Protocol):
    """A function that limits how long each event may take."""

    async def __call__(self, awaitable: Awaitable[T]) -> T: ...


class EventReading:
    """Read one answer: deltas, then the reply."""

    def __init__(self, response: StreamedResponse, connection: Connection, wait: Wait) -> None:
        self._response = response
        self._connection = connection
        self._wait = wait
        self._texts: list[str] = []

    @property
    def complete(self) -> bool:
        return self._response.finish_reason is not None

    async def deltas(self) -> AsyncIterator[Delta]:
        """Yield the deltas for the reader; raise pydantic-ai's exceptions, and ModelError for silence."""
        thoughts = _Thoughts()
        events = aiter(self._response)
        try:
            while event := await self._wait(anext(events, None)):
                for delta in thoughts.deltas_of(event):
                    if delta.kind == TEXT:
                        self._texts.append(delta.content)
                    yield delta
        except Exception:
            if not self.complete:
                raise
        for delta in thoughts.end():
            yield delta

    def reply(self) -> ModelReply:
        """Return the whole answer; raise ModelError, with its cost, when it is unusable."""
        answer, place = self._response.get(), self._connection.place
        details = answer.provider_details or {}
        if answer.finish_reason is None and not details.get("finish_reason"):
            raise faults.unfinished(place)
        reply = conversion.to_reply(answer, "".join(self._texts))
        wrong = faults.of_answer(answer.finish_reason or "", details, place, self._connection.secrets)
        if wrong is not None:
            wrong.usage, wrong.model = reply.usage, reply.model
            raise wrong
        return reply


class _Thoughts:
    """Turn an answer's events into deltas: text and thoughts, each thought with a number and an end.

    Tool calls are shown when they are complete.
    """

    def __init__(self) -> None:
        self._count = 0
        self._open: pai.ThinkingPart | None = None
        self._signature = ""

    def deltas_of(self, event: pai.ModelResponseStreamEvent) -> list[Delta]:
        part = event.part if isinstance(event, pai.PartStartEvent) else None
        delta = event.delta if isinstance(event, pai.PartDeltaEvent) else None
        if isinstance(part, pai.ThinkingPart):
            ended = self.end()
            self._open, self._signature = part, part.signature or ""
            return ended + self._thought(part.content)
        if isinstance(delta, pai.ThinkingPartDelta):
            self._signature += delta.signature_delta or ""
            return self._thought(delta.content_delta)
        if isinstance(part, pai.TextPart):
            return self.end() + ([Delta(TEXT, part.content)] if part.content else [])
        if isinstance(delta, pai.TextPartDelta):
            return [Delta(TEXT, delta.content_delta)] if delta.content_delta else []
        return self.end() if part is not None else []

    def _thought(self, content: str | None) -> list[Delta]:
        return [Delta(THINKING, content, self._count)] if content else []

    def end(self) -> list[Delta]:
        """Return the end of the current thought, if there is one; also for a thought without text (a sealed one)."""
        if self._open is None:
            return []
        ended = Delta(THOUGHT, self._signature, self._count)
        self._open, self._signature = None, ""
        self._count += 1
        return [ended]
