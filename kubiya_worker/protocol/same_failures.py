"""This module tells the same failures of a tool call from others. Workflows and activities share it. It does no I/O.

Two calls are the same if the tool and its arguments are, and they fail in the same way if the model reads the same.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from kubiya_worker.protocol import messages as m


def call_hash(call: m.ToolCall) -> str:
    """Return the hash of a call's tool and arguments. Arguments that are no JSON count as they were written."""
    arguments: Any = call["arguments"]
    try:
        arguments = json.loads(arguments)
    except ValueError:
        pass
    return m.arguments_hash(call["name"], arguments)[:16]


def failure_hash(status: str, text: str, call_id: str) -> str:
    """Return the hash of a failed call's result; empty for a call that succeeded.

    A long output is in a file that is named after the call, so its id would make each result another one.
    """
    if status == m.TOOL_SUCCESS:
        return ""
    return hashlib.sha256(f"{status}\n{text.replace(call_id, '')}".encode(errors="replace")).hexdigest()[:16]


def note(tool: str, times: int) -> str:
    """Return what the model is told of a call that has failed `times` times in the same way."""
    return (
        f"{_begin(tool)}{times} times with these arguments and this result. It will not succeed as it is, so do "
        "not make this call again. Find out why it fails, try something else, or say what keeps you from going on.]"
    )


def without_note(text: str, tool: str) -> str:
    """Return a result without what `note` has told the model."""
    return text.rpartition(f"\n{_begin(tool)}")[0] or text


def _begin(tool: str) -> str:
    return f"[{tool} has failed "
