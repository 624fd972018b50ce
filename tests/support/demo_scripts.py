"""Prompts that the demo model plays word for word (kubiya_worker/models/demo_script.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def script(*steps: dict[str, Any]) -> str:
    """Return the prompt that plays the steps, one for each call of the model."""
    return "demo:script " + json.dumps(steps)


def shell(*commands: str, text: str = "") -> dict[str, Any]:
    """Return a step that calls the shell tool once for each command."""
    return {"text": text, "tools": [{"name": "shell", "arguments": {"command": command}} for command in commands]}


def until(gate: Path) -> str:
    """Return a command that runs until the test makes the file."""
    return f"sh -c 'until test -e {gate}; do sleep 0.05; done'"
