"""This module is the offline demo model: it plans tool calls by rules from the words of a task. It says it is no LLM.

`plan` is a pure function: the same conversation gives the same reply, also after a restart on another host. A prompt
`demo:script [...]` plays a script instead (demo_script.py), for tests and benches.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from kubiya_worker.models import demo_script, demo_tasks, demo_team
from kubiya_worker.models.base import STOP, TEXT, TOOL_CALLS, Delta, ModelReply, ModelRequest
from kubiya_worker.models.demo_scene import Move, Scene, read_scene
from kubiya_worker.protocol.execution import Usage
from kubiya_worker.protocol.messages import Message, ToolCall
from kubiya_worker.protocol.names import DEMO_MODEL
from kubiya_worker.protocol.tools import ToolSpec

LABEL: Final = "demo model, not an LLM"
CHARS_PER_TOKEN: Final = 4  # the usual rule of thumb; usage figures of the demo model are estimates
_BREATH: Final = 64  # words between two pauses for the event loop
_WORD: Final = re.compile(r"\s*\S+\s*")


class DemoModel:
    """The demo model: no network, no cost, and no delay.

    `demo_delay_ms` in model_config sets a delay, in milliseconds per word.
    """

    label = LABEL

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | ModelReply, None]:
        scene = read_scene(request.messages, request.tools)
        move = choose(scene)
        delay = _delay(request.settings if move.delay_ms is None else {"demo_delay_ms": move.delay_ms})
        for count, word in enumerate(_WORD.findall(move.text.strip()), start=1):
            if delay or count % _BREATH == 0:
                await asyncio.sleep(delay)
            yield Delta(TEXT, word)
        yield reply(move, scene, request.system_prompt, request.messages)


def plan(messages: Sequence[Message], tools: Sequence[ToolSpec], system_prompt: str = "") -> ModelReply:
    """Return the demo model's reply to a conversation."""
    scene = read_scene(messages, tools)
    return reply(choose(scene), scene, system_prompt, messages)


def choose(scene: Scene) -> Move:
    """Return the text to say and the tools to call next."""
    if demo_script.is_script(scene.task):
        return demo_script.play(scene)
    if demo_team.leads(scene):
        return demo_team.lead(scene)
    return demo_tasks.choose(scene)


def reply(move: Move, scene: Scene, system_prompt: str, messages: Sequence[Message]) -> ModelReply:
    """Return the reply that makes a move."""
    calls: list[ToolCall] = [
        {"id": f"demo_{scene.replies}_{number}", "name": name, "arguments": _raw(arguments)}
        for number, (name, arguments) in enumerate(move.calls)
    ]
    text = move.text.strip()
    written = len(text) + sum(len(call["name"]) + len(call["arguments"]) for call in calls)
    return ModelReply(
        content=text,
        tool_calls=calls,
        thinking=[],
        usage=Usage(input_tokens=_tokens(len(system_prompt) + _size(messages)), output_tokens=_tokens(written)),
        finish_reason=move.finish_reason or (TOOL_CALLS if calls else STOP),
        model=DEMO_MODEL,
        provider=DEMO_MODEL,
    )


def _raw(arguments: dict[str, Any] | str) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _size(messages: Sequence[Message]) -> int:
    """Return the number of characters that a model would have to read."""
    size = 0
    for message in messages:
        size += len(str(message.get("content") or ""))
        size += sum(len(call["name"]) + len(call["arguments"]) for call in message.get("tool_calls") or ())
    return size


def _tokens(characters: int) -> int:
    return -(-characters // CHARS_PER_TOKEN)


def _delay(settings: dict[str, Any]) -> float:
    """Return the delay in seconds before each word."""
    value = settings.get("demo_delay_ms", 0)
    return max(0.0, float(value)) / 1000 if isinstance(value, (int, float)) else 0.0
