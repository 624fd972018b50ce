"""This module reads an answer from pydantic-ai's events; Anthropic, Google and Bedrock use it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import Final, Protocol, TypeVar

from pydantic_ai import messages as pai
from pydantic_ai.models import StreamedResponse

from kubiya_worker.models import conversion, faults, native_faults
from kubiya_worker.models.base import LARGEST_ANSWER, RESET, TEXT, THINKING, THOUGHT, Delta, ModelError, ModelReply
from kubiya_worker.models.connection import Connection
from kubiya_worker.models.wire import thinking_tags
from kubiya_worker.models.wire.answer_reader import AFTER_REASON
from kubiya_worker.protocol.characters import Halves, without_half_surrogates

T = TypeVar("T")

_LOOK: Final = 1.0  # seconds between two looks at whether the answer is complete


class Wait(Protocol):
    """A function that limits how long each event may take."""

    async def __call__(self, awaitable: Awaitable[T]) -> T: ...


class EventReading:
    """Read one answer: deltas, then the reply; both raise ModelError, with the cost of the answer so far."""

    def __init__(self, response: StreamedResponse, connection: Connection, wait: Wait) -> None:
        self._response = response
        self._connection = connection
        self._wait = wait
        self._texts: list[str] = []
        self._size = 0  # characters of text, thoughts and arguments
        self._went_on = False  # more came after a reason, so the reason does not mean the end
        self._pause: asyncio.Timeout | None = None  # limits the wait for what follows a complete answer

    @property
    def complete(self) -> bool:
        details = self._response.provider_details or {}
        return self._response.finish_reason is not None or bool(details.get("finish_reason")) or self._too_large

    @property
    def _too_large(self) -> bool:
        return self._size > LARGEST_ANSWER

    async def deltas(self) -> AsyncIterator[Delta]:
        """Yield the deltas for the reader."""
        thoughts = _Thoughts()
        events = aiter(self._response)
        watch = asyncio.create_task(self._end_what_is_complete())
        try:
            while not self._too_large and (event := await self._next(events)):
                self._size += _arguments_in(event)
                for delta in thoughts.deltas_of(event):
                    yield self._counted(delta)
        except Exception as error:
            if not self.complete:
                raise self._paid(self._fault(error)) from None
        finally:
            watch.cancel()
        for delta in thoughts.last():
            yield self._counted(delta)

    async def _next(self, events: AsyncIterator[pai.ModelResponseStreamEvent]) -> pai.ModelResponseStreamEvent | None:
        had_reason = self.complete
        try:
            async with asyncio.timeout(AFTER_REASON if had_reason and not self._went_on else None) as self._pause:
                event = await self._wait(anext(events, None))
        except TimeoutError:
            return None
        self._went_on = self._went_on or (had_reason and event is not None)
        return event

    async def _end_what_is_complete(self) -> None:
        """Give a complete answer's usage a moment to come; some proxies leave the connection open for ever."""
        while not self.complete:  # noqa: ASYNC110 (no event of the package tells of an answer's end)
            await asyncio.sleep(_LOOK)
        if self._pause is not None and self._pause.when() is None and not self._went_on:
            with contextlib.suppress(RuntimeError):  # that wait has just ended
                self._pause.reschedule(asyncio.get_running_loop().time() + AFTER_REASON)

    def _counted(self, delta: Delta) -> Delta:
        if delta.kind == TEXT:
            self._texts.append(delta.content)
        elif delta.kind == RESET:
            self._texts.clear()
        self._size += len(delta.content)
        return delta

    def reply(self) -> ModelReply:
        """Return the whole answer."""
        answer, place = self._response.get(), self._connection.place
        details = answer.provider_details or {}
        if not self.complete:
            raise self._paid(faults.unfinished(place))
        reply = conversion.to_reply(answer, "".join(self._texts), too_large=self._too_large)
        wrong = faults.of_answer(answer.finish_reason or "", details, place, self._connection.secrets)
        if wrong is not None and not self._too_large:
            raise self._paid(wrong)
        return reply

    def _fault(self, error: Exception) -> ModelError:
        if isinstance(error, ModelError):
            return error
        place, secrets = self._connection.place, self._connection.secrets
        fault = native_faults.fault(error, place, streaming=True, secrets=secrets)
        return fault or faults.unreadable(error, place, secrets)

    def _paid(self, error: ModelError) -> ModelError:
        error.usage, error.model = conversion.to_usage(self._response.usage), self._response.model_name or ""
        return error


def _arguments_in(event: pai.ModelResponseStreamEvent) -> int:
    """Return how many characters of a call's arguments an event brings."""
    delta = event.delta if isinstance(event, pai.PartDeltaEvent) else None
    return len(delta.args_delta or "") if isinstance(delta, pai.ToolCallPartDelta) else 0


class _Thoughts:
    """Turn an answer's events into deltas: text and thoughts, each thought with a number and an end.

    Tool calls are shown when they are complete. A character whose halves came in two pieces is put together. A thought
    in tags before the answer (Amazon's Nova, and servers that speak Anthropic's API for open models) is a thought.
    """

    def __init__(self) -> None:
        self._count = 0
        self._open: pai.ThinkingPart | None = None
        self._signature = ""
        self._halves = Halves()
        self._splitter = thinking_tags.Splitter()
        self._tagged = False  # whether the thought in tags is open
        self._said = False  # whether any text is known to be the answer's

    def deltas_of(self, event: pai.ModelResponseStreamEvent) -> list[Delta]:
        part = event.part if isinstance(event, pai.PartStartEvent) else None
        delta = event.delta if isinstance(event, pai.PartDeltaEvent) else None
        if isinstance(part, pai.ThinkingPart):
            ended = self._end()
            self._splitter.separate_thoughts = True
            self._open, self._signature = part, part.signature or ""
            return ended + self._piece(THINKING, part.content)
        if isinstance(delta, pai.ThinkingPartDelta):
            self._signature += delta.signature_delta or ""
            return self._piece(THINKING, delta.content_delta)
        if isinstance(part, pai.TextPart):
            return self._end() + self._text(self._halves.feed(part.content or ""))
        if isinstance(delta, pai.TextPartDelta):
            return self._text(self._halves.feed(delta.content_delta or ""))
        return self._end() if part is not None else []

    def last(self) -> list[Delta]:
        """Return what is left once nothing more comes."""
        left = self._end() + self._split(self._splitter.flush())
        if not self._said:
            left += self._split(self._splitter.give_back())
        return left + self._end_tagged()

    def _piece(self, kind: str, content: str | None) -> list[Delta]:
        text = self._halves.feed(content or "")
        return [Delta(kind, text, self._count)] if text else []

    def _text(self, text: str) -> list[Delta]:
        return self._split(self._splitter.feed(text)) if text else []

    def _split(self, pieces: list[thinking_tags.TextPiece]) -> list[Delta]:
        deltas: list[Delta] = []
        for piece in pieces:
            if piece.undo:
                self._said = False
                deltas.append(Delta(RESET, ""))
            elif piece.thought:
                self._tagged = True
                deltas.append(Delta(THINKING, piece.text, self._count))
            elif piece.text:
                self._said = True
                deltas += [*self._end_tagged(), Delta(TEXT, piece.text)]
        return deltas

    def _end_tagged(self) -> list[Delta]:
        if not self._tagged:
            return []
        self._tagged = False
        self._count += 1
        return [Delta(THOUGHT, "", self._count - 1)]

    def _end(self) -> list[Delta]:
        """Return what is left of the current part, and the end of a thought; also of one without text (a sealed
        one).
        """
        left = self._halves.flush()
        if self._open is None:
            return self._text(left) + self._end_tagged()
        ended = [Delta(THINKING, left, self._count)] if left else []
        ended.append(Delta(THOUGHT, without_half_surrogates(self._signature), self._count))
        self._open, self._signature = None, ""
        self._count += 1
        return ended
