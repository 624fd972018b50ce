"""This module reads values that a control plane may write in another form: null, numbers and flags as text, JSON in a
text. Pure.

What can mean one thing only is read as that. Where a restriction could be lost, anything else is refused by name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError

REMEDY: Final = "Correct it at the control plane"
_FLAGS: Final = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
_KINDS: Final = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number"}


def flag(value: Any, default: bool) -> bool:
    """Return true or false, also for 0, 1 and words; `default` for null and for what is neither."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return bool(value)
    return _FLAGS.get(value.strip().lower(), default) if isinstance(value, str) else default


def number(value: Any, default: float) -> float:
    """Return a finite number, also one in a text; `default` for anything else."""
    try:
        number = default if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return default
    return number if math.isfinite(number) else default


def text(value: Any, default: str = "") -> str:
    """Return a text, also for a number; `default` for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else default


def an_object(value: Any, what: str) -> dict[str, Any]:
    """Return an object, empty for null; JSON in a text is read. Raise ConfigurationError for anything else."""
    parsed = _read(value)
    if parsed is None or parsed == "":
        return {}
    if not isinstance(parsed, dict):
        raise ConfigurationError(f"{what} is {_kind(parsed)}, not an object", remedy=REMEDY)
    return parsed


def objects(value: Any, what: str) -> list[dict[str, Any]]:
    """Return a list of objects, empty for null; JSON in a text is read. Raise ConfigurationError for anything else."""
    parsed = _read(value)
    if parsed is None or parsed == "":
        return []
    if not isinstance(parsed, list):
        raise ConfigurationError(f"{what} is {_kind(parsed)}, not a list of objects", remedy=REMEDY)
    for place, each in enumerate(parsed, 1):
        if not isinstance(each, dict):
            raise ConfigurationError(f"{what}: number {place} is {_kind(each)}, not an object", remedy=REMEDY)
    return parsed


def only_objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; none where it is no list. For data without which nothing is allowed more."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _read(value: Any) -> Any:
    if not isinstance(value, str) or value.strip()[:1] not in ("{", "["):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _kind(value: Any) -> str:
    return next((words for kind, words in _KINDS.items() if isinstance(value, kind)), "a number" if value else "null")
