"""Parts of JSON schemas and how they are put together: unions, demands of both, a value of any type. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeGuard

from kubiya_worker.tools.text import clean

Schema = dict[str, Any]

# A value of any type, in a form that providers take: they want a type, and `items` for an array. Whoever checks a value
# has to let every one through here, an array of numbers too.
ANYTHING: Final[list[Schema]] = [
    *({"type": kind} for kind in ("string", "number", "boolean", "null", "object")),
    {"type": "array", "items": {"type": "string"}},
]


def with_type(schema: Schema) -> Schema:
    """Return a schema that always has a type, also for a value of any type: some providers refuse one without."""
    return schema if "type" in schema or "anyOf" in schema else {**schema, "anyOf": ANYTHING}


def any_of(options: list[Schema]) -> Schema:
    """Return the union of schemas in the shortest form; {} when it takes anything."""
    flat: list[Schema] = []
    for option in options:
        inner = option.get("anyOf")
        flat += inner if isinstance(inner, list) and set(option) == {"anyOf"} else [option]
    if not flat or any("type" not in option and "anyOf" not in option for option in flat):
        return {}
    kinds = {option.get("type") for option in flat}
    if kinds == {"string"} and all("enum" in option for option in flat):
        words = list(dict.fromkeys(word for option in flat for word in option["enum"]))
        return {"type": "string", "enum": words}
    unlike = [option for at, option in enumerate(flat) if option not in flat[:at]]
    return unlike[0] if len(unlike) == 1 else {"anyOf": unlike}


def both(first: Schema, second: Schema) -> Schema:
    """Return what demands both: properties and required ones of each; for the rest the second has the word."""
    together = {**first, **second}
    inner = [schema["properties"] for schema in (first, second) if isinstance(schema.get("properties"), Mapping)]
    if len(inner) == 2:
        a, b = inner
        shared = {name: {"allOf": [a[name], b[name]]} for name in a if name in b and a[name] != b[name]}
        together["properties"] = {**a, **b, **shared}
    needed = [schema["required"] for schema in (first, second) if isinstance(schema.get("required"), list)]
    if len(needed) == 2:
        together["required"] = [*needed[0], *needed[1]]
    if first.get("additionalProperties") is False or second.get("additionalProperties") is False:
        together.pop("additionalProperties", None)  # each knows its own members only
    return together


def listed(flat: Mapping[str, Any]) -> list[Any] | None:
    if "const" in flat:
        return [flat["const"]]
    values = flat.get("enum")
    return values if isinstance(values, list) and values else None


def type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    for kind, python in (("string", str), ("integer", int), ("number", float), ("array", list), ("object", Mapping)):
        if isinstance(value, python):
            return kind
    return "null"


def is_number(value: Any) -> TypeGuard[float]:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer may have more digits than a float has room for
        return False


def as_text(value: Any) -> str:
    try:
        return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
    except (ValueError, RecursionError):
        return "…"


def keys(root: Any) -> Iterator[str]:
    """Yield every name in a schema, wherever it is: none of them is given to another property."""
    pending: list[Any] = [root]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            yield from (str(key) for key in value)
            pending += value.values()
        elif isinstance(value, list):
            yield from (word for word in value if isinstance(word, str))
            pending += value
