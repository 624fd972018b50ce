"""Skill `sleep`: waiting, for an agent that looks again later."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult
from kubiya_worker.tools.skill_configuration import Skill

TYPES: Final = ("sleep",)
KEYS: Final[dict[str, str]] = {}
LONGEST: Final = 3600.0  # seconds

SPEC: Final = ToolSpec(
    name="sleep",
    description="Wait for a number of seconds, for instance before you look again at something that takes time.",
    parameters={
        "type": "object",
        "properties": {"seconds": {"type": "number", "minimum": 0, "maximum": LONGEST}},
        "required": ["seconds"],
        "additionalProperties": False,
    },
    idempotent=True,
    timeout=LONGEST + 10,
)


def build(skill: Skill, workspace: Path) -> list[Tool]:
    return [Sleep()]


class Sleep:
    spec = SPEC

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        seconds = min(max(float(arguments["seconds"]), 0.0), LONGEST)
        await asyncio.sleep(seconds)
        return ToolResult(f"Waited {seconds:g} seconds.")
