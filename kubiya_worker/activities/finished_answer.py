"""A model's finished answer: corrected, redacted, bounded, and in the form of a message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kubiya_worker.activities import answer_checks
from kubiya_worker.activities.answer_redaction import kept_thought
from kubiya_worker.models import structured
from kubiya_worker.models.base import LENGTH, ModelReply
from kubiya_worker.protocol import calls
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import messages as m
from kubiya_worker.tools.argument_repair import repaired_arguments, repaired_name
from kubiya_worker.tools.redaction import Redactor


@dataclass(frozen=True)
class FinishedAnswer:
    """The message for the conversation; why it does not fit the response_format; what people are told of it."""

    message: m.Message
    misfit: str
    notices: list[str]


def finish(
    reply: ModelReply,
    call: calls.ModelInput,
    context: calls.Context,
    conversation: Sequence[m.Message],
    redactor: Redactor,
) -> FinishedAnswer:
    """Return what becomes of a reply to the conversation. All texts are redacted."""
    misfit = ""
    if context.response_format is not None and not reply.tool_calls:
        text, misfit = structured.read(reply.content, context.response_format)
        reply = reply if misfit else replace(reply, content=text)
    reply, corrections = corrected(reply, [str(tool["name"]) for tool in context.tools])
    message = answer_checks.fitted(_message(call, reply, conversation, redactor))
    notices = [*corrections, *how_it_ended(reply, message)]
    if misfit:
        notices.append(f"The answer does not fit the response_format: {misfit}")
    return FinishedAnswer(message, redactor.text(misfit), [redactor.text(notice) for notice in notices])


def corrected(reply: ModelReply, tools: Sequence[str]) -> tuple[ModelReply, list[str]]:
    """Return the reply with corrected tool calls, and a description of each correction for people."""
    corrections: list[str] = []
    tool_calls = []
    for call in reply.tool_calls:
        name = repaired_name(call["name"], tools)
        if name is not None:
            corrections.append(f"The model asked for {call['name']!r}; the tool {name} is meant.")
            call = {**call, "name": name}
        arguments = None if "cut" in call else repaired_arguments(call["arguments"])
        if arguments is not None:
            corrections.append(f"The arguments of {call['name']} were repaired before it runs: {arguments.what}.")
            call = {**call, "arguments": arguments.text}
        tool_calls.append(call)
    return replace(reply, tool_calls=tool_calls), corrections


def how_it_ended(reply: ModelReply, message: m.Message) -> list[str]:
    """Return notices for people about the way the answer ended and the parts of it that are kept."""
    cut = [call["name"] for call in message.get("tool_calls") or () if call.get("cut") == answer_checks.SIZE]
    if cut or message.get("cut") == answer_checks.SIZE:
        of_what = f"the arguments of {', '.join(cut)}, which is not run" if cut else "its end"
        return [f"The answer is too large to be kept: {of_what} was left out."]
    ended = answer_checks.told(reply)
    return [ended] if ended else []


def _message(
    call: calls.ModelInput, reply: ModelReply, conversation: Sequence[m.Message], redactor: Redactor
) -> m.Message:
    """Return the assistant message. Ids of tool calls are made unique, as providers repeat them."""
    call_ids = {c["id"] for message in conversation for c in message.get("tool_calls") or []}
    tool_calls: list[m.ToolCall] = []
    for asked in redactor.value(reply.tool_calls):
        call_id = (
            asked["id"]
            if asked["id"] and asked["id"] not in call_ids and not call.trimmed  # then not all are known
            else f"{asked['id'] or 'call'}_{call.turn}_{call.step}"
        )
        while call_id in call_ids:
            call_id += "_"
        call_ids.add(call_id)
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
