"""This module turns a model's arguments from JSON text into an object that fits the tool's schema, or into an error.

The checker knows the part of JSON schema that tools use: type, required, properties, additionalProperties, enum, items,
minimum, maximum, minLength, maxLength. It ignores other keywords (anyOf, $ref, formats): the tool itself, or the MCP
server behind it, checks those.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.base import ToolArgumentsError

MAX_PROBLEMS: Final = 8  # more problems would not help the model

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "number": (int, float),
    "integer": (int,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def parse_arguments(spec: ToolSpec, raw: str) -> dict[str, Any]:
    """Return the arguments as an object, empty for an empty text; raise ToolArgumentsError."""
    try:
        value = json.loads(raw, parse_constant=_no_constant) if raw.strip() else {}
        # Half of a surrogate pair has no UTF-8, so it could be neither hashed nor sent.
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ToolArgumentsError(f"The arguments of {spec.name} are nested too deeply.") from None
    except UnicodeEncodeError:
        raise ToolArgumentsError(
            f"The arguments of {spec.name} hold half of a surrogate pair (such as \\ud800). Send whole characters."
        ) from None
    except ValueError as error:
        raise ToolArgumentsError(
            f"The arguments of {spec.name} are not valid JSON ({error}). Send one JSON object, quoted and closed."
        ) from None
    if not isinstance(value, dict):
        raise ToolArgumentsError(
            f"The arguments of {spec.name} are {_name_of(value)}, not an object. Send one JSON object such as "
            f"{_example(spec)}."
        )
    problems = list(_problems(value, spec.parameters, ""))
    if problems:
        raise ToolArgumentsError(
            f"The arguments of {spec.name} do not fit: {'; '.join(problems[:MAX_PROBLEMS])}. "
            f"Send an object such as {_example(spec)}."
        )
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _problems(value: Any, schema: Any, where: str) -> Iterator[str]:
    """Yield the problems of `value`, one phrase each; `where` is the path to it, empty at the top."""
    if not isinstance(schema, Mapping):
        return
    label = f"`{where}`" if where else "the object"
    wanted = schema.get("type")
    types = [wanted] if isinstance(wanted, str) else [name for name in wanted or () if isinstance(name, str)]
    if types and not any(_is(value, name) for name in types):
        yield f"{label} must be {' or '.join(types)}, not {_name_of(value)}"
        return
    allowed = schema.get("enum")
    if isinstance(allowed, list) and value not in allowed:
        yield f"{label} must be one of {', '.join(map(json.dumps, allowed))}"
    yield from _bounds(value, schema, label)
    if isinstance(value, dict):
        yield from _members(value, schema, where)
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _problems(item, schema.get("items"), f"{where}[{index}]")


def _bounds(value: Any, schema: Mapping[str, Any], label: str) -> Iterator[str]:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high, unit, size = schema.get("minimum"), schema.get("maximum"), "", float(value)
    elif isinstance(value, str):
        low, high, unit, size = schema.get("minLength"), schema.get("maxLength"), " characters", float(len(value))
    else:
        return
    if isinstance(low, (int, float)) and size < low:
        yield f"{label} must be at least {low}{unit}"
    if isinstance(high, (int, float)) and size > high:
        yield f"{label} must be at most {high}{unit}"


def _members(value: dict[str, Any], schema: Mapping[str, Any], where: str) -> Iterator[str]:
    properties = schema.get("properties")
    known: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
    required = schema.get("required")
    prefix = f"{where}." if where else ""
    for name in required if isinstance(required, list) else ():
        if name not in value:
            yield f"`{prefix}{name}` is missing"
    others = schema.get("additionalProperties")
    for name, member in value.items():
        if name in known:
            yield from _problems(member, known[name], prefix + name)
        elif others is False:
            near = difflib.get_close_matches(name, list(known), 1)
            yield f"`{prefix}{name}` is not known" + (f" (did you mean `{near[0]}`?)" if near else "")
        else:
            yield from _problems(member, others, prefix + name)


def _is(value: Any, name: str) -> bool:
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    if isinstance(value, bool) and name in ("number", "integer"):
        return False
    return isinstance(value, _TYPES.get(name, (object,)))


def _name_of(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    for name, article in (("string", "a"), ("number", "a"), ("array", "an"), ("object", "an")):
        if isinstance(value, _TYPES[name]):
            return f"{article} {name}"
    return "null"


def _example(spec: ToolSpec) -> str:
    """Return an example object with the required members, each with a value of its type."""
    samples = {"string": "...", "number": 1, "integer": 1, "boolean": True, "array": [], "object": {}}
    properties = spec.parameters.get("properties") or {}
    required = spec.parameters.get("required") or []
    kinds = {name: (properties.get(name) or {}).get("type") for name in required}
    return json.dumps(
        {name: samples.get(kind, "...") if isinstance(kind, str) else "..." for name, kind in kinds.items()}
    )
