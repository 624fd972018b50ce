"""This module tries a model with a few small calls by the worker's own client, to show what the endpoint can do.

1  two tool calls are asked for at once           tools, parallel tools, usage
2  their results go back, the answer is a text    streaming, sending results back, caching
3  an answer by a JSON schema                     structured output (OpenAI-compatible endpoints only)
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError, NotAllowed, TemporaryFailure, Unavailable, WorkerError
from kubiya_worker.models.base import (
    AUTH,
    BAD_REQUEST,
    RATE_LIMITED,
    SILENT,
    THINKING,
    UNAVAILABLE,
    Delta,
    Model,
    ModelError,
    ModelReply,
    ModelRequest,
)
from kubiya_worker.protocol.execution import Usage
from kubiya_worker.protocol.messages import Message
from kubiya_worker.protocol.tools import ToolSpec

YES: Final = "yes"
NO: Final = "no"
UNKNOWN: Final = "unknown"

CHECKS: Final = (
    *("tools", "parallel tools", "streaming", "usage in the stream", "reasoning", "structured output", "caching"),
)
CITIES: Final = ("Oslo", "Rome")
TOOL: Final = ToolSpec(
    "get_temperature",
    "Tell the temperature in a city, in degrees Celsius.",
    {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Name of the city"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)
TASK: Final = (
    f"How warm is it in {CITIES[0]} and in {CITIES[1]}? Call the tool once for each city, both in the same answer. "
    "Then say in one sentence where it is warmer."
)
PROMPT: Final = "You answer questions with the help of tools. Be brief."
# This text is long enough for a provider to cache: most need 1,024 tokens. It is sent only if the beginning of a
# request is marked.
FILLER: Final = " ".join(f"Rule {n}: tell numbers as the tool gives them, without guessing." for n in range(1, 141))
SCHEMA: Final = {
    "type": "object",
    "properties": {"warmer": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["warmer", "degrees"],
    "additionalProperties": False,
}
FORMAT: Final = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}


@dataclass(frozen=True)
class Ability:
    """One result; `status` is YES, NO or UNKNOWN (not tried, or nothing was seen), `detail` says what was seen."""

    status: str
    detail: str = ""


@dataclass
class ModelTrial:
    """The result of a trial; `fault` says why it ended early."""

    abilities: dict[str, Ability] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    calls: int = 0
    model: str = ""  # the provider's name of it
    fault: ModelError | None = None

    @property
    def passed(self) -> bool:
        """Return whether the model called the tool, as an agent can do nothing without that."""
        return self.fault is None and self.abilities["tools"].status == YES

    def ability(self, name: str) -> Ability:
        return self.abilities.get(name, Ability(UNKNOWN, "not tried"))


@dataclass
class _TimedReply:
    reply: ModelReply
    pieces: int
    thought: int  # pieces of thoughts
    first: float  # seconds until the first piece
    seconds: float


async def run(model: Model, model_id: str, settings: dict[str, Any], *, marked: bool, chat: bool) -> ModelTrial:
    """Make the calls; `marked` says that the prompt cache is used, `chat` that OpenAI's chat completions are spoken."""
    trial = ModelTrial()
    prompt = f"{PROMPT}\n{FILLER}" if marked else PROMPT

    async def call_model(messages: list[Message], **changes: Any) -> _TimedReply:
        fields: dict[str, Any] = {"tools": [TOOL], "settings": settings, **changes}
        request = ModelRequest(model_id, prompt, messages, cache_key="kubiya-models-test", **fields)
        trial.calls += 1
        try:
            answer = await _read_answer(model.stream(request))
        except ModelError as error:
            trial.usage = trial.usage.plus(error.usage)
            raise
        trial.usage, trial.model = trial.usage.plus(answer.reply.usage), answer.reply.model
        return answer

    messages: list[Message] = [{"role": "user", "content": TASK}]
    try:
        called = await _tools(trial, call_model, messages)
    except ModelError as error:
        trial.fault = error
        return trial
    try:
        answered = await call_model(messages)
    except ModelError as error:
        trial.abilities["tools"] = Ability(NO, f"the endpoint does not take the results of the calls: {error.message}")
        return trial
    _text(trial, called, answered, marked=marked)
    if chat:
        await _structured(trial, call_model, settings)
    return trial


async def _tools(trial: ModelTrial, call_model: Callable[..., Any], messages: list[Message]) -> _TimedReply:
    """Make the first call; `messages` then hold what the second one needs."""
    try:
        answer: _TimedReply = await call_model(messages)
    except ModelError as error:
        if error.kind in (AUTH, RATE_LIMITED, SILENT) or (error.status is None and error.kind == UNAVAILABLE):
            raise
        # This call raises when the tools are not the reason.
        without_tools: _TimedReply = await call_model(messages, tools=[])
        trial.abilities["tools"] = Ability(NO, f"a request with tools is refused: {error.message}")
        return without_tools
    calls = answer.reply.tool_calls
    good = [call for call in calls if call["name"] == TOOL.name and _city(call["arguments"])]
    if good:
        trial.abilities["tools"] = Ability(YES, f"{good[0]['name']} {good[0]['arguments']}")
    elif calls:
        wrong = f"{calls[0]['name']} {calls[0]['arguments']}"
        trial.abilities["tools"] = Ability(NO, f"the call cannot be used: {wrong}")
    else:
        trial.abilities["tools"] = Ability(NO, "it answered with a text instead of a call")
    if good:
        several = len(good) > 1
        detail = f"{len(good)} calls in one answer" if several else "one call where two were asked for"
        trial.abilities["parallel tools"] = Ability(YES if several else NO, detail)
    assistant_message: Message = {"role": "assistant", "content": answer.reply.content}
    if calls:
        assistant_message["tool_calls"] = calls
    if answer.reply.thinking:
        assistant_message["thinking"] = answer.reply.thinking
    messages.append(assistant_message)
    for number, call in enumerate(calls):
        result = {"city": _city(call["arguments"]), "celsius": 4 + 15 * number}
        messages.append(
            {"role": "tool", "content": json.dumps(result), "tool_call_id": call["id"], "tool_name": call["name"]}
        )
    if not calls:
        messages.append({"role": "user", "content": "Count from one to twenty in words."})
    return answer


def _text(trial: ModelTrial, called: _TimedReply, answered: _TimedReply, *, marked: bool) -> None:
    pieces = max(called.pieces, answered.pieces)
    whole = answered.reply.content
    status = YES if pieces > 1 else NO if len(whole) > 40 else UNKNOWN
    detail = f"first piece after {answered.first:.2f} s, {pieces} pieces" if pieces > 1 else "all came at once"
    trial.abilities["streaming"] = Ability(status, detail)
    used = called.reply.usage
    counted = f"{used.input_tokens:,} in, {used.output_tokens:,} out"
    trial.abilities["usage in the stream"] = (
        Ability(YES, counted) if used.total_tokens else Ability(NO, "no count came")
    )
    thought = called.thought + answered.thought
    thinks = thought or called.reply.thinking or answered.reply.thinking
    trial.abilities["reasoning"] = (
        Ability(YES, f"{thought} pieces of thought") if thinks else Ability(UNKNOWN, "none seen")
    )
    read = answered.reply.usage.cache_read_tokens
    if read:
        trial.abilities["caching"] = Ability(YES, f"{read:,} tokens of the second call were read from the cache")
    else:
        seen = "marked, but nothing was read" if marked else "not marked for this model, and nothing was read"
        trial.abilities["caching"] = Ability(NO if marked else UNKNOWN, seen)


async def _structured(trial: ModelTrial, call_model: Callable[..., Any], settings: dict[str, Any]) -> None:
    compatible = dict(settings.get("compatibility") or {})
    body = {**(compatible.get("extra_body") or {}), "response_format": FORMAT}
    changed = {**settings, "compatibility": {**compatible, "extra_body": body}}
    question: list[Message] = [{"role": "user", "content": "It is 4 degrees in Oslo, 19 in Rome. Where is it warmer?"}]
    try:
        answer: _TimedReply = await call_model(question, tools=[], settings=changed)
    except ModelError as error:
        trial.abilities["structured output"] = Ability(NO, error.message)
        return
    fits = _fits(answer.reply.content)
    detail = "an answer after a JSON schema" if fits else "the answer does not fit the schema"
    trial.abilities["structured output"] = Ability(YES if fits else NO, detail)


async def _read_answer(stream: AsyncGenerator[Delta | ModelReply, None]) -> _TimedReply:
    began, first, pieces, thought = time.monotonic(), 0.0, 0, 0
    reply: ModelReply | None = None
    async with aclosing(stream) as items:
        async for item in items:
            if isinstance(item, ModelReply):
                reply = item
                continue
            first = first or time.monotonic() - began
            thought += item.kind == THINKING
            pieces += item.kind != THINKING and bool(item.content)
    assert reply is not None  # every stream ends with a reply, or raises
    return _TimedReply(reply, pieces, thought, first, time.monotonic() - began)


def _city(arguments: str) -> str:
    try:
        value = json.loads(arguments)
    except ValueError:
        return ""
    city = value.get("city") if isinstance(value, dict) else None
    return city if isinstance(city, str) else ""


def _fits(text: str) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return (
        isinstance(value, dict)
        and value.keys() == SCHEMA["properties"].keys()  # type: ignore[attr-defined]
        and isinstance(value["warmer"], str)
        and isinstance(value["degrees"], int)
    )


def wire(trial: ModelTrial, model: str, label: str, seconds: float, nanos: int | None) -> dict[str, Any]:
    """Return the result as a JSON object; `label` names the endpoint, `nanos` is the cost in billionths of a dollar."""
    checks = {name: trial.ability(name) for name in CHECKS}
    return {
        "model": model,
        "at": label,
        "ok": trial.passed,
        "checks": {name.replace(" ", "_"): vars(check) for name, check in checks.items()},
        "error": trial.fault.line() if trial.fault else None,
        "calls": trial.calls,
        "usage": trial.usage.wire(),
        "cost_usd": None if nanos is None else nanos / 1e9,
        "seconds": round(seconds, 2),
    }


def as_worker_error(error: ModelError) -> WorkerError:
    """Return the error as the class whose exit code tells a person what to do."""
    kinds: dict[str, type[WorkerError]] = {
        **dict.fromkeys((AUTH, "quota"), NotAllowed),
        **dict.fromkeys((BAD_REQUEST, "unknown_model", "moved"), ConfigurationError),
        RATE_LIMITED: TemporaryFailure,
    }
    return kinds.get(error.kind, Unavailable)(error.message, remedy=error.remedy or "Try again in a moment")
