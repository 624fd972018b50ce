"""This module reads one answer of an OpenAI-compatible server: bytes in, deltas out, then the reply or an error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any, Final

import httpx2

from kubiya_worker.models import base, faults
from kubiya_worker.models.base import Delta, ModelError, ModelReply
from kubiya_worker.models.connection import Connection
from kubiya_worker.models.provider_report import ProviderReport
from kubiya_worker.models.wire import embedded_errors, finish_reasons, framing, outgoing
from kubiya_worker.models.wire.answer import AnswerBuilder, chunk_of
from kubiya_worker.models.wire.framing import Body, StreamEvent
from kubiya_worker.models.wire.tool_calls import is_object
from kubiya_worker.protocol.characters import without_half_surrogates

Pace = Callable[[Awaitable[bytes]], Awaitable[bytes]]

AFTER_END: Final = 0.3  # seconds to wait, after the end mark, for the connection to be ready for the next request
AFTER_REASON: Final = 5.0  # seconds to wait for what may follow a finish reason: the usage, the end mark
_OVER: Final = ("is_end", "is_finished", "finished")  # switches of a last event
_JSON: Final = ("{", "[", '"')  # the first characters of what was to be an object
_SHOWN: Final = 200  # characters shown of a body that is neither an answer nor an error


class Reading:
    """Read the answer to one request; `pace` limits how long each piece may take."""

    def __init__(
        self,
        response: httpx2.Response,
        connection: Connection,
        model: str,
        provider: str,
        tools: Collection[str],
        pace: Pace,
    ) -> None:
        self._response = response
        self._provider = provider
        self._connection = connection
        self._model = model
        self._pace = pace
        self._end_seen = False
        self._too_large = False
        self._unexpected = ""  # received text that is no part of an answer
        self._stray = ""  # the last event that is no JSON and looks like none
        self.answer = AnswerBuilder(tools)
        self.answer.counts.add_headers(response.headers)

    @property
    def complete(self) -> bool:
        return self.answer.is_whole or self._too_large

    async def deltas(self) -> AsyncIterator[Delta]:
        """Yield the deltas for the reader as they arrive; raise ModelError when the answer is unusable."""
        try:
            body = Body(self._response, self._wait)
            await body.open()
            async for event in self._events(body):
                for delta in self._apply(event):
                    yield delta
                if self._too_large:
                    break
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            if not self.complete:
                raise self._broke_off(error) from None
        except ModelError as error:
            if not self.complete:
                raise self._paid(error) from None
        for delta in self.answer.end():
            yield delta

    async def _events(self, body: Body) -> AsyncIterator[StreamEvent]:
        if body.kind == framing.EVENTS:
            async for event in body.events():
                yield event
            self._unexpected = self._unexpected or body.unread
        elif body.kind == framing.PAGE:
            raise self._unusable("is a web page, not a model's answer", address=True)
        elif body.kind == framing.NOTHING:
            return
        else:
            text = await body.text()
            values = framing.documents(text) if body.kind == framing.JSON else None
            if values is None and body.broken is not None:
                raise body.broken
            if values is None:
                raise self._unusable(f"is no model's answer: {self._quoted(text)}", address=True)
            for value in values:
                yield StreamEvent("", text if len(values) == 1 else json.dumps(value, ensure_ascii=False), value)
            if body.broken is not None:
                raise body.broken
            self.answer.told_end = self.answer.told_end or not self.answer.is_empty

    def _apply(self, event: StreamEvent) -> list[Delta]:
        if self._end_seen:  # some servers send the usage behind the end mark
            if isinstance(event.value, Mapping) and not event.value.get("choices"):
                self.answer.counts.add(event.value)
            return []
        if event.end:
            self._end_seen = self.answer.told_end = True
            return []
        value = chunk_of(event.value) if isinstance(event.value, Mapping) else event.value
        wrong = embedded_errors.error_in(event.text if value is None else value, event.name)
        if wrong is not None:
            raise self._failed(wrong)
        if event.value is None:
            if event.text[:1] not in _JSON:  # such as "keep-alive": it matters only if no answer comes
                self._unexpected = self._stray = event.text
                return []
            raise self._unusable(f"holds an event that is no JSON: {self._quoted(event.text)}")
        if isinstance(event.value, list):
            return [delta for value in event.value for delta in self._apply(StreamEvent(event.name, event.text, value))]
        if not isinstance(event.value, Mapping):
            return []
        if not event.value.get("choices") and not self._unexpected:
            self._unexpected = "" if isinstance(event.value.get("choices"), list) else event.text
        deltas = self.answer.feed(chunk_of(event.value))
        over = event.value.get("done") is True and not event.value.get("choices")
        if over or any(event.value.get(name) is True for name in _OVER):
            self.answer.told_end = self.answer.told_end or not self.answer.is_empty
        if self.answer.size > base.LARGEST_ANSWER:
            self._too_large = True
        return deltas

    async def _wait(self, awaitable: Awaitable[bytes]) -> bytes:
        """Return the next bytes; none when nothing more follows a complete answer soon."""
        if not self._end_seen and (not self.answer.reason or self.answer.went_on):
            return await self._pace(awaitable)
        try:
            async with asyncio.timeout(AFTER_END if self._end_seen else AFTER_REASON):
                return await awaitable
        except TimeoutError:
            return b""

    def reply(self) -> ModelReply:
        """Return the whole answer; raise ModelError, with its cost, when it is unusable."""
        answer = self.answer
        if not self.complete:
            raise self._paid(self._unfinished())
        kind = base.LENGTH if self._too_large else finish_reasons.kind_of(answer.reason)
        wrong = self._wrong(kind)
        if wrong is not None:
            raise self._paid(wrong)
        calls = answer.calls.complete()
        tool_calls = [
            {
                "id": without_half_surrogates(call.id),
                "name": without_half_surrogates(call.name),
                "arguments": call.arguments() or "{}",
            }
            for call in calls
        ]
        if kind == base.LENGTH and calls and not is_object(calls[-1].arguments()):
            tool_calls[-1]["cut"] = base.LENGTH
        entry = outgoing.entry_of(answer, calls, outgoing.origin_of(self._connection.place, self._model))
        return ModelReply(
            content=answer.text,
            tool_calls=tool_calls,
            thinking=[entry] if entry else [],
            usage=answer.counts.usage(),
            finish_reason=self._finish(kind, bool(calls)),
            model=answer.model or self._model,
            provider=self._provider,
            cost_nanos=answer.counts.nanos,
            too_large=self._too_large,
        )

    def _finish(self, kind: str, calls: bool) -> str:
        if kind in (base.STOP, base.TOOL_CALLS, finish_reasons.UNKNOWN) and calls:
            return base.TOOL_CALLS  # some servers say "stop", or nothing, although they ask for tools
        if kind == base.TOOL_CALLS or not self.answer.reason:
            return base.STOP
        return kind if kind == base.LENGTH else self.answer.reason

    def _wrong(self, kind: str) -> ModelError | None:
        answer, place = self.answer, self._connection.place
        details = {"finish_reason": answer.reason, "refusal": answer.refusal}
        finish = {base.CONTENT_FILTER: base.CONTENT_FILTER, finish_reasons.ERROR: "error"}.get(kind, "")
        wrong = faults.of_answer(finish, details, place, self._secrets)
        if wrong is None and answer.is_empty and not answer.counts.known and not answer.reason:
            return self._unusable(f"is empty: {self._what_came()}", address=True)
        return wrong

    def _what_came(self) -> str:
        return (
            f"it holds no choice but {self._quoted(self._unexpected)}"
            if self._unexpected
            else "nothing but its end came"
        )

    # -- errors

    @property
    def _secrets(self) -> Collection[str]:
        return self._connection.secrets

    def _unfinished(self) -> ModelError:
        if self.answer.is_empty and not self.answer.size:
            return self._unusable(
                f"is empty: {self._what_came() if self._unexpected else 'nothing came'}", address=True
            )
        if self._stray:
            return faults.broke_off(self._connection.place, self._stray, self._secrets, tries=base.FEW)
        return faults.unfinished(self._connection.place)

    def _unusable(self, reason: str, *, address: bool = False) -> ModelError:
        return self._paid(
            ModelError(
                f"The answer of {self._connection.place} {reason}",
                kind=base.BAD_ANSWER,
                retryable=True,
                remedy="Check the endpoint's address (LITELLM_API_BASE or OPENAI_BASE_URL), and its path"
                if address
                else "",
            )
        )

    def _broke_off(self, error: Exception) -> ModelError:
        words = str(error) or type(error).__name__
        tries = base.FEW if isinstance(error, httpx2.DecodingError) else base.MANY  # which comes each time
        return self._paid(faults.broke_off(self._connection.place, words, self._secrets, tries=tries))

    def _failed(self, body: Any) -> ModelError:
        """Return the error in a reply with status 200, as the same error with its own status would be returned."""
        status = embedded_errors.status_of(body)
        report = ProviderReport(status or 400, body, in_stream=status is None)
        fault = faults.reported(report, self._connection.place, self._secrets)
        if status is None and fault.kind == base.BAD_REQUEST:
            # Nothing says whose error it is, and a few more tries do no harm.
            reason = str(fault).partition(" failed: ")[2] or str(fault)
            fault = ModelError(
                f"The model endpoint {self._connection.place} failed: {reason}",
                kind=base.BAD_ANSWER,
                retryable=True,
                unclear=True,
                remedy=fault.remedy or "Try again, or give the agent another model",
            )
        return self._paid(fault)

    def _paid(self, error: ModelError) -> ModelError:
        error.usage, error.model = self.answer.counts.usage(), self.answer.model or self._model
        error.cost_nanos = self.answer.counts.nanos
        return error

    def _quoted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***") if secret else text
        text = " ".join(without_half_surrogates(text).split())
        return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
