"""This module fits a model's arguments to the tool's schema where they can mean one thing only. Pure.

Models write null for what they do not give, a number as a text, a list as the text of one, and sometimes the whole call
in place of its arguments. A value that fits is never changed, nor is one whose changed form would not fit either.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

_HOLDERS: Final = ("arguments", "parameters", "input", "args")  # what a call names its arguments
_BESIDE: Final = frozenset({"name", "type", "id", "tool", "function"})  # what may stand beside them
_BOOLEANS: Final = {"true": True, "false": False}

Fits = Callable[[Any, Any], bool]  # (value, its schema): whether it fits


def fitted(value: dict[str, Any], name: str, schema: Mapping[str, Any], fits: Fits) -> dict[str, Any]:
    """Return the arguments for the tool `name`; those that do not fit are changed as far as that helps."""
    fitting: dict[str, Any] = without_nulls(value, schema, schema, fits)
    if fits(fitting, schema):
        return fitting
    inner = _unwrapped(value, name, schema)
    if inner is not None:
        meant: dict[str, Any] = _converted(without_nulls(inner, schema, schema, fits), schema, schema, fits)
        if fits(meant, schema):
            return meant
    converted: dict[str, Any] = _converted(fitting, schema, schema, fits)
    return converted


def without_nulls(value: Any, schema: Any, root: Any, fits: Fits) -> Any:
    """Return the value without optional members that are null although their schema takes no null, at any depth."""
    if not isinstance(schema, Mapping):
        return value
    if isinstance(value, list):
        return [without_nulls(item, schema.get("items"), root, fits) for item in value]
    known = schema.get("properties")
    if not isinstance(value, dict) or not isinstance(known, Mapping):
        return value
    required = schema.get("required")
    needed = required if isinstance(required, list) else ()
    return {
        name: without_nulls(member, known.get(name), root, fits)
        for name, member in value.items()
        if member is not None or name in needed or name not in known or fits(None, _with_parts(known[name], root))
    }


def _unwrapped(value: Mapping[str, Any], name: str, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the arguments in a whole call of this tool; None for anything else."""
    known = schema.get("properties")
    known = known if isinstance(known, Mapping) else {}
    holders = [key for key in value if key in _HOLDERS]
    if len(holders) != 1 or set(value) - {holders[0]} - _BESIDE or set(value) & set(known):
        return None
    if value.get("name", name) != name:
        return None
    inner = _loaded(value[holders[0]])
    return inner if isinstance(inner, dict) else None


def _converted(value: Any, schema: Any, root: Any, fits: Fits) -> Any:
    """Return the value with each text or number in it that does not fit in the type that its schema wants."""
    if not isinstance(schema, Mapping):
        return value
    whole: Mapping[str, Any] = _with_parts(schema, root)
    if not isinstance(value, (dict, list)):
        return value if fits(value, whole) else _other_type(value, whole, fits)
    known = schema.get("properties")
    if isinstance(value, list):
        return [_converted(item, schema.get("items"), root, fits) for item in value]
    known = known if isinstance(known, Mapping) else {}
    return {key: _converted(member, known.get(key), root, fits) for key, member in value.items()}


def _other_type(value: Any, schema: Mapping[str, Any], fits: Fits) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and schema.get("type") == "string":
        other: Any = str(value)  # such as the number of a ticket
    elif isinstance(value, str):
        other = _BOOLEANS.get(value.strip().lower(), _loaded(value))
    else:
        return value
    return other if type(other) is not type(value) and fits(other, schema) else value


def _loaded(value: Any) -> Any:
    """Return the JSON in a text; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_constant=lambda name: name)
    except (ValueError, RecursionError):
        return value


def _with_parts(schema: Any, root: Any) -> Any:
    """Return a member's schema with the parts of the whole one that `$ref` in it points to."""
    if not isinstance(schema, Mapping) or not isinstance(root, Mapping):
        return schema
    return {**schema, **{name: root[name] for name in ("$defs", "definitions") if name in root}}
