"""`{{name}}` in the prompt of a job, filled in with what its trigger brings. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

WHOLE: Final = "payload"  # all of it, as JSON
_HOLE: Final = re.compile(r"\{\{\s*([A-Za-z_][\w-]*(?:\.[\w-]+)*)\s*\}\}")
_ABSENT: Final = object()


def holes(template: str) -> list[str]:
    """The names that a prompt wants, in order, each once."""
    return list(dict.fromkeys(_HOLE.findall(template)))


def fill(template: str, values: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The prompt, and the names that `values` lack.

    A dotted name looks inside objects and lists: {{commits.0.message}}. {{payload}} is everything, and may stand before
    a name. What is no text is written as JSON. What a value holds is not filled in again.
    """
    missing: list[str] = []

    def value(match: re.Match[str]) -> str:
        found = _find(values, match[1])
        if found is _ABSENT:
            missing.append(match[1])
            return match[0]
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    return _HOLE.sub(value, template), list(dict.fromkeys(missing))


def _find(values: Mapping[str, Any], name: str) -> Any:
    if name in values:
        return values[name]
    keys = name.split(".")
    found: Any = values
    for key in keys[1:] if keys[0] == WHOLE and WHOLE not in values else keys:
        if isinstance(found, Mapping) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        else:
            return _ABSENT
    return found
