"""This module plays scripts word for word: `demo:script [{"text": …, "tools": [{"name", "arguments"}]}, …]`.

The step is the number of assistant messages since the script was given, so a restart goes on where it was. A step:

    {"text"?: str, "repeat_text"?: int, "tools"?: [{"name": str, "arguments"?: object | raw text}],
     "finish_reason"?: str, "delay_ms"?: milliseconds for each word}
    {"loop": step}      plays that step for ever: a model that never stops calling tools
"""

from __future__ import annotations

import json
from typing import Any, Final

from kubiya_worker.models.demo_scene import Move, Scene

PREFIX: Final = "demo:script"


def is_script(task: str) -> bool:
    return task.lstrip().startswith(PREFIX)


def play(scene: Scene) -> Move:
    """Return the script's current step; a script that is over or cannot be read returns a text that says so."""
    try:
        script, _ = json.JSONDecoder().raw_decode(scene.task.lstrip()[len(PREFIX) :].lstrip(" :\n"))
        steps = script if isinstance(script, list) else [script]
        for number, step in enumerate(steps):
            if "loop" in step:
                return move(step["loop"])
            if number == scene.steps:
                return move(step)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return Move(f"The demo script cannot be read: {error}. It is a JSON array of steps.")
    return Move("The demo script has ended.")


def move(step: dict[str, Any]) -> Move:
    return Move(
        text=str(step.get("text") or "") * int(step.get("repeat_text") or 1),
        calls=tuple((tool["name"], tool.get("arguments") or {}) for tool in step.get("tools") or ()),
        finish_reason=step.get("finish_reason"),
        delay_ms=float(step["delay_ms"]) if "delay_ms" in step else None,
    )
