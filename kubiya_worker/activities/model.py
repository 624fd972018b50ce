"""`call_model` makes one call of a language model and streams the answer to the clients."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace

from temporalio import activity

from kubiya_worker.activities import answer_checks
from kubiya_worker.activities.answer_redaction import RedactedAnswer
from kubiya_worker.activities.attempts import LONG, Attempts, attempt_tag, heartbeats, place
from kubiya_worker.activities.authority import FRESH
from kubiya_worker.activities.cache_watch import TEXT as UNREAD
from kubiya_worker.activities.cache_watch import CacheWatch
from kubiya_worker.activities.call_prices import CallPrices
from kubiya_worker.activities.fallback import Fallback
from kubiya_worker.activities.finished_answer import finish
from kubiya_worker.activities.mcp_tools import relisted
from kubiya_worker.activities.model_requests import ModelRequests
from kubiya_worker.activities.model_step import ModelStep
from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.activities.workflow_context import context_of, conversation_of
from kubiya_worker.models.base import Delta, ModelError, ModelReply
from kubiya_worker.protocol import calls, compaction, names, servers
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import messages as m
from kubiya_worker.tracing import conventions, current


@dataclass(frozen=True)
class StreamedReply:
    """A reply that was streamed as a whole, and when: timestamps of the request and of the first piece."""

    reply: ModelReply
    started_at: str
    first_at: str


class ModelActivities:
    def __init__(self, runtime: Runtime, fallback: Fallback, prices: CallPrices) -> None:
        self._runtime = runtime
        self._fallback = fallback
        self._prices = prices
        self._requests = ModelRequests(runtime)
        self._cache = CacheWatch()

    @activity.defn(name=names.CALL_MODEL)
    async def call_model(self, call: calls.ModelInput) -> calls.ModelResult:
        """Stream one model call. Retryable faults are raised with the provider's delay; others end the turn."""
        runtime, attempts, attempt = self._runtime, Attempts.before(), activity.info().attempt
        async with heartbeats(attempts.details):
            context = await context_of(runtime, call.execution_id, call.tools_version)
            fresh = await relisted(runtime, call.execution_id, context)
            if fresh:
                context = replace(context, tools=servers.replaced(context.tools, fresh))
            context = await self._held_now(context)
            conversation = await conversation_of(runtime, call)
            size = sum(map(m.size_of, compaction.for_model(conversation)))
            attempts.long = not call.shortened and size >= LONG
            publisher = runtime.publisher(call, context)
            step = ModelStep(call, context, conversation, attempts, attempt_tag(), publisher)
            if publisher.pace is not None and attempt > 1:
                publisher.pace.left = 0  # clients without `reset_chunks` would show both texts
            async with publisher:
                if attempt > 1:
                    step.take_back(step.tag)
                result = await self._fallback.ask(step, lambda model_id, tag: self._answer(step, model_id, tag))
                if runtime.may_leave_events(call):
                    publisher.leave_behind(result.message)
            result.undelivered, result.spooled = publisher.outcome.undelivered, publisher.outcome.spooled
            result.unconfirmed = publisher.outcome.unconfirmed
            result.relisted = fresh
            if call.pieces is not None:  # an attempt that died has sent a few too, and text perhaps
                lost = 2 * (attempt - 1) + (call.pieces if attempt > 1 else 0)
                result.events = publisher.sent + lost
        runtime.memory.transcripts.leave(call.execution_id, result.message)
        return result

    async def _held_now(self, context: calls.Context) -> calls.Context:
        """Return the context without the tools of skills that were taken away. Wait while all agents are stopped.

        A stop pauses each workflow; what waits here are the few calls that were on their way when it came.
        """
        authorities = self._runtime.authorities
        authority = await authorities.of(context)
        while authority.stopped is not None:
            await asyncio.sleep(FRESH)
            authority = await authorities.of(context)
        tools = [tool for tool in context.tools if not authority.removed(str(tool.get("skill") or ""))]
        return context if len(tools) == len(context.tools) else replace(context, tools=tools)

    async def _answer(self, step: ModelStep, model_id: str, tag: str) -> calls.ModelResult:
        """Return a model's answer. One that refuses the response_format is asked once more without it."""
        step.end_chunks_after_text()
        try:
            streamed = await self._stream(step, model_id, tag)
        except ModelError as error:
            if not self._requests.drop_refused_format(step.context, model_id, error):
                raise
            streamed = await self._stream(step, model_id, tag)
        return await self._publish(step, model_id, tag, streamed)

    async def _stream(self, step: ModelStep, model_id: str, tag: str) -> StreamedReply:
        """Ask a model, and show its answer while it comes."""
        models = self._runtime.models
        started_at, first_at, asked = ev.now(), "", time.monotonic()
        model = models.select(model_id)
        models.look_up(model_id)
        request = await self._requests.make(step, model_id)
        redactor = self._runtime.redactor_of(step.call.execution_id)
        shown = RedactedAnswer(step.publisher, step.call.message_id, tag, redactor)
        reply: ModelReply | None = None
        async with contextlib.aclosing(model.stream(request)) as stream:
            async for item in stream:
                if isinstance(item, ModelReply):
                    reply = item
                elif isinstance(item, Delta):
                    if not first_at:
                        first_at = ev.now()
                        current.note(conventions.FIRST_CHUNK, round(time.monotonic() - asked, 6))
                    shown.add(item)
        shown.end()
        if reply is None:
            raise ModelError(
                "The model's answer ended without a result",
                kind="cut_stream",
                retryable=True,
                remedy="Try again, or give the agent another model",
            )
        fault = answer_checks.empty(reply, step.conversation[-1] if step.conversation else None)
        if fault is not None:
            raise fault
        return StreamedReply(reply, started_at, first_at)

    async def _publish(self, step: ModelStep, model_id: str, tag: str, streamed: StreamedReply) -> calls.ModelResult:
        """Show the complete message, with what people have to know of it, and return it."""
        runtime, call, context, reply = self._runtime, step.call, step.context, streamed.reply
        retention = runtime.models.cached_for(model_id, context.model_config)
        usage = await self._prices.of_reply(model_id, reply, retention)
        if retention and self._cache.note(call.execution_id, usage):
            step.notify(f"{call.execution_id}:caching", UNREAD, "caching")
        usage = usage.plus(step.attempts.spent)
        answer = finish(reply, call, context, step.conversation, runtime.redactor_of(call.execution_id))
        for number, text in enumerate(answer.notices):
            step.notify(f"{call.message_id}:{tag}:{number}", text, "answer")
        own = model_id == context.model_id
        data = {
            **{key: value for key, value in answer.message.items() if key != "thinking"},
            "model": reply.model,
            "model_provider": reply.provider,
            "model_label": context.model_label if own else runtime.models.select(model_id).label,
            "usage": usage.wire(),
            "step": place(runtime.worker_id, started_at=streamed.started_at, first_at=streamed.first_at),
        }
        step.publisher.emit(ev.event(f"message:{call.message_id}:{tag}", ev.MESSAGE, data))
        return calls.ModelResult(
            message=answer.message,
            usage=usage.wire(),
            finish_reason=reply.finish_reason,
            model=reply.model,
            provider=reply.provider,
            window=runtime.models.reported_window(model_id),
            misfit=answer.misfit,
        )
