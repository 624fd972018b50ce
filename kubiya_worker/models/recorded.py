"""This module is the model of a recorded run: it gives the recorded answers again, word for word."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from kubiya_worker.models import demo, demo_script
from kubiya_worker.models.base import TEXT, Delta, ModelReply, ModelRequest
from kubiya_worker.models.demo_scene import read_scene
from kubiya_worker.recording import Recording

LABEL: Final = "recorded answers, not an LLM"


class RecordedModel:
    """The model of a recording. Where an execution stands is told by its messages, so a restart goes on there."""

    label = LABEL

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Delta | ModelReply, None]:
        about = request.metadata
        answers = [message for message in request.messages if message.get("role") == "assistant"]
        asked = [message for message in request.messages if message.get("role") == "user"]
        task = str(asked[0].get("content") or "") if asked else ""
        step = self._recording.step(about.get("agent_name", ""), about.get("trace_id", ""), task, len(answers))
        move = demo_script.move(step)
        if move.text.strip():
            yield Delta(TEXT, move.text.strip())
        scene = read_scene(request.messages, request.tools)
        yield demo.reply(move, scene, request.system_prompt, request.messages)
