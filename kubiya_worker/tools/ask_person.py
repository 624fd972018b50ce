"""Skill `ask_person`: a question to a person, whose answer the model gets as the call's result.

The call waits as a call that needs approval does: no slot, no poll, over restarts. Its `answer` is written by the
person, so it is no argument that a model may give: `answered` is the spec of a call that a person has answered.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult
from kubiya_worker.tools.skill_configuration import Skill

TYPES: Final = ("ask_person",)
KEYS: Final[dict[str, str]] = {}
LONGEST_ANSWER: Final = 20_000  # characters
ANSWER: Final = "answer"

SPEC: Final = ToolSpec(
    name="ask_person",
    description="Ask the person for whom you work, when you cannot find out or decide something yourself. You get the "
    "answer, however long it takes.",
    parameters={
        "type": "object",
        "properties": {
            "question": {"type": "string", "minLength": 1, "maxLength": 4000},
            "options": {
                "type": "array",
                "items": {"type": "string", "minLength": 1, "maxLength": 200},
                "description": "Answers to choose from; the person may also write another one",
            },
        },
        "required": ["question"],
        "additionalProperties": False,
    },
    idempotent=True,
    timeout=10.0,
    asks=True,
)


def build(skill: Skill, workspace: Path) -> list[Tool]:
    return [AskPerson()]


def answered(spec: ToolSpec) -> ToolSpec:
    """Return the spec of a call that a person answered, which also has the argument `answer`."""
    answer = {"type": "string", "maxLength": LONGEST_ANSWER}
    return replace(
        spec, parameters={**spec.parameters, "properties": {**spec.parameters["properties"], ANSWER: answer}}
    )


class AskPerson:
    spec = SPEC

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        return ToolResult(str(arguments.get(ANSWER) or "").strip() or "The person said yes, and no more.")
