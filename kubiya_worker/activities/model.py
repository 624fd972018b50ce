"""`call_model` makes one call of a language model and streams the answer to the clients."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from temporalio import activity

from kubiya_worker.activities import answer_checks, images
from kubiya_worker.activities.answer_redaction import RedactedAnswer, kept_thought
from kubiya_worker.activities.attempts import LONG, Attempts, attempt_tag, heartbeats, place
from kubiya_worker.activities.authority import FRESH
from kubiya_worker.activities.cache_watch import TEXT as UNREAD
from kubiya_worker.activities.cache_watch import CacheWatch
from kubiya_worker.activities.fallback import Fallback
from kubiya_worker.activities.mcp_tools import relisted
from kubiya_worker.activities.publisher import Publisher
from kubiya_worker.activities.runtime import Runtime, workspace_of
from kubiya_worker.activities.workflow_context import context_of, conversation_of
from kubiya_worker.models import structured, vision
from kubiya_worker.models.base import BAD_REQUEST, LENGTH, Delta, ModelError, ModelReply, ModelRequest
from kubiya_worker.protocol import calls, compaction, names, servers
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol.execution import Usage
from kubiya_worker.tools.argument_repair import repaired_arguments, repaired_name
from kubiya_worker.tools.redaction import Redactor
from kubiya_worker.tracing import conventions, current


def mended(reply: ModelReply, tools: Sequence[str]) -> tuple[ModelReply, list[str]]:
    """Return the reply with corrected tool calls, and a description of each correction for people."""
    slips: list[str] = []
    tool_calls = []
    for call in reply.tool_calls:
        name = repaired_name(call["name"], tools)
        if name is not None:
            slips.append(f"The model asked for {call['name']!r}; the tool {name} is meant.")
            call = {**call, "name": name}
        arguments = None if "cut" in call else repaired_arguments(call["arguments"])
        if arguments is not None:
            slips.append(f"The arguments of {call['name']} were repaired before it runs: {arguments.what}.")
            call = {**call, "arguments": arguments.text}
        tool_calls.append(call)
    return replace(reply, tool_calls=tool_calls), slips


def how_it_ended(reply: ModelReply, message: m.Message) -> list[str]:
    """Return notices for people about the way the answer ended and the parts of it that are kept."""
    cut = [call["name"] for call in message.get("tool_calls") or () if call.get("cut") == answer_checks.SIZE]
    if cut or message.get("cut") == answer_checks.SIZE:
        of_what = f"the arguments of {', '.join(cut)}, which is not run" if cut else "its end"
        return [f"The answer is too large to be kept: {of_what} was left out."]
    ended = answer_checks.told(reply)
    return [ended] if ended else []


def _misfits(misfit: str) -> list[str]:
    return [f"The answer does not fit the response_format: {misfit}"] if misfit else []


class ModelActivities:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._cache = CacheWatch()
        self._unformatted: set[str] = set()  # models whose endpoint takes no response_format
        self._priced: set[tuple[str, str]] = set()  # models whose price was looked up before
        self.fallback = Fallback(runtime, self._price_of)

    @activity.defn(name=names.CALL_MODEL)
    async def call_model(self, call: calls.ModelInput) -> calls.ModelResult:
        """Stream one model call. Retryable faults are raised with the provider's delay; others end the turn."""
        runtime = self._runtime
        tag, attempts = attempt_tag(), Attempts.before()
        async with heartbeats(attempts.details):
            context = await context_of(runtime, call.execution_id, call.tools_version)
            fresh = await relisted(runtime, call.execution_id, context)
            if fresh:
                context = replace(context, tools=servers.replaced(context.tools, fresh))
            context = await self._held_now(context)
            conversation = await conversation_of(runtime, call)
            given = compaction.for_model(conversation)
            attempts.long = not call.shortened and sum(map(m.size_of, given)) >= LONG
            publisher = runtime.publisher(call, context)
            if publisher.pace is not None and activity.info().attempt > 1:
                publisher.pace.left = 0  # clients without `reset_chunks` would show both texts
            async with publisher as out:
                if activity.info().attempt > 1:
                    data = {"message_id": call.message_id}
                    out.emit(ev.event(f"reset:{call.message_id}:{tag}", ev.RESET_CHUNKS, data))

                async def ask(model_id: str, tag: str) -> calls.ModelResult:
                    if publisher.pace is not None and publisher.pace.texts:
                        publisher.pace.left = 0
                    try:
                        return await self._stream(call, context, model_id, conversation, out, tag, attempts)
                    except ModelError as error:
                        if not self._refuses_format(context, model_id, error):
                            raise
                        return await self._stream(call, context, model_id, conversation, out, tag, attempts)

                result = await self.fallback.ask(call, context, out, tag, attempts, ask)
                if self._runtime.may_leave_events(call):
                    out.leave_behind(result.message)
            result.undelivered, result.spooled = publisher.outcome.undelivered, publisher.outcome.spooled
            result.unconfirmed = publisher.outcome.unconfirmed
            result.relisted = fresh
            if call.pieces is not None:  # an attempt that died has sent a few too, and text perhaps
                lost = 2 * (activity.info().attempt - 1) + (call.pieces if activity.info().attempt > 1 else 0)
                result.events = publisher.sent + lost
        runtime.transcripts.leave(call.execution_id, result.message)
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

    async def _stream(
        self,
        call: calls.ModelInput,
        context: calls.Context,
        model_id: str,
        conversation: list[m.Message],
        out: Publisher,
        tag: str,
        attempts: Attempts,
    ) -> calls.ModelResult:
        runtime = self._runtime
        began, first, asked = ev.now(), "", time.monotonic()
        model = runtime.models.select(model_id)
        runtime.models.look_up(model_id)
        request = await self._request(call.execution_id, context, model_id, conversation)
        redactor = runtime.redactor_of(call.execution_id)
        shown = RedactedAnswer(out, call.message_id, tag, redactor)
        reply: ModelReply | None = None
        async with contextlib.aclosing(model.stream(request)) as stream:
            async for item in stream:
                if isinstance(item, ModelReply):
                    reply = item
                elif isinstance(item, Delta):
                    if not first:
                        first = ev.now()
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
        wrong = answer_checks.empty(reply, conversation[-1] if conversation else None)
        if wrong is not None:
            raise wrong
        kept = runtime.models.cached_for(model_id, context.model_config)
        usage = await self.priced(model_id, reply.usage, reply.model, kept, told=reply.cost_nanos)
        if kept and self._cache.note(call.execution_id, usage):
            data = {"severity": "warning", "message": UNREAD, "kind": "caching", "message_id": call.message_id}
            out.emit(ev.event(f"notice:{call.execution_id}:caching", ev.NOTICE, data))
        usage = usage.plus(attempts.spent)
        misfit = ""
        if context.response_format is not None and not reply.tool_calls:
            text, misfit = structured.read(reply.content, context.response_format)
            reply = reply if misfit else replace(reply, content=text)
        reply, slips = mended(reply, [str(tool["name"]) for tool in context.tools])
        message = answer_checks.fitted(self._message(call, reply, conversation, redactor))
        for number, text in enumerate([*slips, *how_it_ended(reply, message), *_misfits(misfit)]):
            data = {"severity": "warning", "message": redactor.text(text), "kind": "answer"}
            notice = f"notice:{call.message_id}:{tag}:{number}"
            out.emit(ev.event(notice, ev.NOTICE, {**data, "message_id": call.message_id}))
        out.emit(
            ev.event(
                f"message:{call.message_id}:{tag}",
                ev.MESSAGE,
                {k: v for k, v in message.items() if k != "thinking"}
                | {
                    "model": reply.model,
                    "model_provider": reply.provider,
                    "model_label": context.model_label if model_id == context.model_id else model.label,
                    "usage": usage.wire(),
                    "step": place(runtime.worker_id, started_at=began, first_at=first),
                },
            )
        )
        return calls.ModelResult(
            message=message,
            usage=usage.wire(),
            finish_reason=reply.finish_reason,
            model=reply.model,
            provider=reply.provider,
            window=runtime.models.reported_window(model_id),
            misfit=redactor.text(misfit),
        )

    async def _request(
        self, execution_id: str, context: calls.Context, model_id: str, conversation: list[m.Message]
    ) -> ModelRequest:
        """Return the request for a model, with the pictures of the conversation if the model takes some."""
        runtime = self._runtime
        messages = compaction.for_model(conversation)
        if images.any_images(messages) and vision.takes_images(model_id, context.model_config):
            workspace = workspace_of(runtime, execution_id, context)
            messages = await asyncio.to_thread(images.with_images, messages, workspace)
        offer = runtime.offer_of(execution_id, context)
        return ModelRequest(
            model_id=model_id,
            system_prompt=context.system_prompt,
            messages=messages,
            tools=offer.specs,
            settings=self._settings(context, model_id),
            metadata=self.trace(execution_id, context, model_id),
            cache_key=offer.cache_key,
        )

    def _settings(self, context: calls.Context, model_id: str) -> dict[str, Any]:
        """Return the agent's settings. The endpoint gets the response_format only where there are no tools.

        Servers that enforce a grammar could otherwise produce no tool call. The prompt names the format in any case.
        """
        settings = {k: v for k, v in context.model_config.items() if k not in structured.KEYS}
        if context.response_format is not None and not context.tools and model_id not in self._unformatted:
            settings["response_format"] = context.response_format
        return settings

    def _refuses_format(self, context: calls.Context, model_id: str, error: ModelError) -> bool:
        """Return True when the endpoint may have refused the response_format. It is then not sent there again."""
        sent = "response_format" in self._settings(context, model_id)
        if sent and error.kind == BAD_REQUEST:
            self._unformatted.add(model_id)
        return sent and error.kind == BAD_REQUEST

    async def _price_of(self, model_id: str, error: ModelError) -> Usage:
        return await self.priced(model_id, error.usage, error.model, told=error.cost_nanos)

    async def priced(
        self, model_id: str, usage: Usage, model: str, kept: str = "", *, told: int | None = None
    ) -> Usage:
        """Return `usage` with its price, where that is known, and with the saving by the prompt cache.

        `model` is the provider's name of the model that answered. `kept` is the time that its cache entries last.
        `told` is the cost of the call as the gateway reports it, in 1e-9 USD; it counts where no price is known.
        """
        models = self._runtime.models
        if models.offline(model_id):
            return usage
        if (model_id, model) in self._priced:
            nanos = models.nanos(model_id, usage, model, kept)
        else:  # the first time it reads a large table
            nanos = await asyncio.to_thread(models.nanos, model_id, usage, model, kept)
            self._priced.add((model_id, model))
        if nanos is None:
            return replace(usage, cost_nanos=told or 0)
        return replace(usage, cost_nanos=nanos, saved_nanos=models.saved(model_id, usage, nanos, model))

    def _message(
        self, call: calls.ModelInput, reply: ModelReply, conversation: list[m.Message], redactor: Redactor
    ) -> m.Message:
        """Return the assistant message. Ids of tool calls are made unique, as providers repeat them."""
        taken = {c["id"] for message in conversation for c in message.get("tool_calls") or []}
        tool_calls: list[m.ToolCall] = []
        for asked in redactor.value(reply.tool_calls):
            call_id = (
                asked["id"]
                if asked["id"] and asked["id"] not in taken and not call.trimmed  # then not all are known
                else f"{asked['id'] or 'call'}_{call.turn}_{call.step}"
            )
            while call_id in taken:
                call_id += "_"
            taken.add(call_id)
            tool_calls.append({**asked, "id": call_id})
        message: m.Message = {
            "role": "assistant",
            "content": redactor.text(reply.content),
            "message_id": call.message_id,
            "timestamp": ev.now(),
        }
        if tool_calls:
            message["tool_calls"] = tool_calls
        if reply.thinking:
            message["thinking"] = [kept_thought(entry, redactor) for entry in reply.thinking]
        if reply.finish_reason == LENGTH:
            message["cut"] = LENGTH
        return message

    @staticmethod
    def trace(execution_id: str, context: calls.Context, model_id: str) -> dict[str, str]:
        """Return the trace keys for a gateway (docs/protocol.md#d1)."""
        email = str(context.user.get("user_email") or "")
        return {
            "trace_name": "agent-chat",
            "generation_name": "agent-chat",
            "trace_id": execution_id,
            "session_id": execution_id,
            "trace_user_id": f"{email}-{context.organization_id}",
            "user_email": email,
            "organization_id": context.organization_id,
            "agent_id": context.agent_id,
            "agent_name": context.agent_name,
            "model": model_id,
        }
