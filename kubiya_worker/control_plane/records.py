"""Analytics records with the types of protocol.md#a11. One wrong type would lose the record, so each is converted.

Null does not mean "absent" to the published server: a field without a value is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

LARGEST: Final = 2**31 - 1
LONGEST_OUTPUT: Final = 10_000  # characters of a tool's output that the server keeps
LONGEST_PREVIEW: Final = 500  # characters of a response
LONGEST_ERROR: Final = 2_000  # characters of an error message
LONGEST_NAME: Final = 255  # characters of a name
LONGEST_INPUT_TEXT: Final = 10_000  # characters of one text in a tool's input
UNKNOWN: Final = "unknown"
FINISHES: Final = ("stop", "length", "tool_use", "error")  # what the server's judge knows

TURN_COUNTS: Final = (
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens", "total_tokens"),
    "tools_called_count",
)


def turn(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of POST /analytics/turns. `cost_usd` of our records is the server's `total_cost`."""
    failed = bool(record.get("error_message"))
    finish = str(record.get("finish_reason") or "stop")
    names = record.get("tools_called_names")
    body = {
        "execution_id": str(record["execution_id"]),
        "turn_number": _integer(record.get("turn_number")) or 0,
        "turn_id": _text(record.get("turn_id"), LONGEST_NAME),
        "model": _text(record.get("model"), LONGEST_NAME) or UNKNOWN,
        "model_provider": _text(record.get("model_provider"), LONGEST_NAME),
        "started_at": _time(record.get("started_at")) or _time(record.get("completed_at")) or _EPOCH,
        "completed_at": _time(record.get("completed_at")),
        "duration_ms": _duration(record),
        "finish_reason": "error" if failed or finish == "content_filter" else finish if finish in FINISHES else "stop",
        "response_preview": _text(record.get("response_preview"), LONGEST_PREVIEW),
        "error_message": _text(record.get("error_message"), LONGEST_ERROR),
        "total_cost": _number(record.get("total_cost", record.get("cost_usd"))),
        "tools_called_names": [str(name) for name in names] if isinstance(names, list | tuple) else None,
        **{name: _integer(record.get(name)) for name in TURN_COUNTS},
    }
    return _present(body)


def tool_call(record: Mapping[str, Any], turn_id: str | None = None) -> dict[str, Any]:
    """Return the body of POST /analytics/tool-calls. `turn_id`: of the stored turn, as its POST answered it."""
    tool_input = record.get("tool_input")
    metadata = record.get("metadata")
    output = _text(record.get("tool_output"), LONGEST_OUTPUT)
    size = _integer(record.get("tool_output_size"))
    body = {
        "execution_id": str(record["execution_id"]),
        "turn_id": turn_id,
        "tool_name": _text(record.get("tool_name"), LONGEST_NAME) or UNKNOWN,
        "tool_use_id": _text(record.get("tool_use_id"), LONGEST_NAME),
        "started_at": _time(record.get("started_at")) or _time(record.get("completed_at")) or _EPOCH,
        "completed_at": _time(record.get("completed_at")),
        "duration_ms": _duration(record),
        "tool_input": _shortened(dict(tool_input)) if isinstance(tool_input, Mapping) else None,
        "tool_output": output,
        "tool_output_size": len(output) if size is None and output is not None else size,
        "success": bool(record.get("success", True)),
        "error_message": _text(record.get("error_message"), LONGEST_ERROR),
        "error_type": _text(record.get("error_type"), LONGEST_NAME),
        "metadata": dict(metadata) if isinstance(metadata, Mapping) and metadata else None,
    }
    return _present(body)


_EPOCH: Final = "1970-01-01T00:00:00+00:00"  # stands for a required time that is not known


def _present(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def _text(value: Any, longest: int) -> str | None:
    return None if value is None else str(value)[:longest]


def _integer(value: Any) -> int | None:
    """Return an integer that the database takes, from 0 up to 2^31 - 1; None for a value that is no number."""
    number = _number(value)
    return None if number is None else max(0, min(int(number), LARGEST))


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _time(value: Any) -> str | None:
    """Return ISO-8601 text, or None. The server refuses a number, and any other text breaks the request."""
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return str(value)


def _duration(record: Mapping[str, Any]) -> int | None:
    """Return the milliseconds that the record gives, or those between its two times."""
    given_duration = _integer(record.get("duration_ms"))
    began, ended = _time(record.get("started_at")), _time(record.get("completed_at"))
    if given_duration is not None or began is None or ended is None:
        return given_duration
    try:
        return _integer((datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds() * 1000)
    except TypeError:  # one with a zone, one without
        return None


def _shortened(value: Any) -> Any:
    """Return a tool's input with its long texts cut, as analytics need no file contents."""
    if isinstance(value, str):
        return (
            value
            if len(value) <= LONGEST_INPUT_TEXT
            else f"{value[:LONGEST_INPUT_TEXT]}[{len(value) - LONGEST_INPUT_TEXT} characters more]"
        )
    if isinstance(value, Mapping):
        return {str(key): _shortened(item) for key, item in value.items()}
    return [_shortened(item) for item in value] if isinstance(value, list | tuple) else value
