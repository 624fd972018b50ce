"""This module fills `{{name}}` in a job's or a hook's prompt with values of its trigger. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

WHOLE: Final = "payload"  # all the values, as JSON
_HOLE: Final = re.compile(r"\{\{\s*([A-Za-z_][\w-]*(?:\.[\w-]+)*)\s*\}\}")
_ABSENT: Final = object()


def holes(template: str) -> list[str]:
    """Return the names in a prompt, in order, each once."""
    return list(dict.fromkeys(_HOLE.findall(template)))


def fill(template: str, values: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the filled prompt, and the names that `values` does not have.

    A dotted name looks inside objects and lists: {{commits.0.message}}. {{payload}} means all values, and may stand
    before
    a name. A value that is not text is written as JSON. Names inside a value are not filled in.
    """
    missing: list[str] = []

    def value(match: re.Match[str]) -> str:
        filled = _find(values, match[1])
        if filled is _ABSENT:
            missing.append(match[1])
            return match[0]
        return filled if isinstance(filled, str) else json.dumps(filled, ensure_ascii=False)

    return _HOLE.sub(value, template), list(dict.fromkeys(missing))


def fill_by(values: Mapping[str, Any], template: str, written: Callable[[Any], str], absent: str) -> str:
    """Return the filled text, with each value as `written` writes it, and `absent` for what `values` does not have."""

    def value(match: re.Match[str]) -> str:
        filled = _find(values, match[1])
        return absent if filled is _ABSENT else written(filled)

    return _HOLE.sub(value, template)


def _find(values: Mapping[str, Any], name: str) -> Any:
    if name in values:
        return values[name]
    keys = name.split(".")
    inner: Any = values
    for key in keys[1:] if keys[0] == WHOLE and WHOLE not in values else keys:
        if isinstance(inner, Mapping) and key in inner:
            inner = inner[key]
        elif isinstance(inner, list) and key.isdigit() and int(key) < len(inner):
            inner = inner[int(key)]
        else:
            return _ABSENT
    return inner
