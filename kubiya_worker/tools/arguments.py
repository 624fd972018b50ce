"""This module turns a model's arguments from JSON text into an object that fits the tool's schema, or into an error.

`json_schema` checks the types, bounds and names, also behind `anyOf` and `$ref`. A tool may ask for more than its
schema says; it, or the MCP server behind it, has the last word.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import Any, Final, NoReturn

from kubiya_worker import json_schema
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools import argument_fit, schema_parts
from kubiya_worker.tools.base import ToolArgumentsError

MAX_PROBLEMS: Final = 8  # more problems would not help the model


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
    arguments = argument_fit.fitted(value, spec.name, spec.parameters, lambda part, schema: not _problems(part, schema))
    problems = _problems(arguments, spec.parameters)
    if problems:
        raise ToolArgumentsError(
            f"The arguments of {spec.name} do not fit: {'; '.join(problems)}. Send an object such as {_example(spec)}."
        )
    return arguments


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _problems(value: Any, schema: Any) -> list[str]:
    """Return the first problems of the arguments; none where the schema itself is malformed."""
    try:
        problems = json_schema.problems(value, schema, "the object", anything=schema_parts.ANYTHING)
        return list(islice(problems, MAX_PROBLEMS))
    except Exception:  # each malformed schema fails in its own way; the tool, or its MCP server, has the last word
        return []


def _name_of(value: Any) -> str:
    names = {bool: "a boolean", str: "a string", int: "a number", float: "a number", list: "an array"}
    return names.get(type(value), "null")


def _example(spec: ToolSpec) -> str:
    """Return an example object with the required members, each with a value of its type."""
    samples = {"string": "...", "number": 1, "integer": 1, "boolean": True, "array": [], "object": {}}
    properties = spec.parameters.get("properties") or {}
    required = spec.parameters.get("required") or []
    kinds = {name: (properties.get(name) or {}).get("type") for name in required}
    return json.dumps(
        {name: samples.get(kind, "...") if isinstance(kind, str) else "..." for name, kind in kinds.items()}
    )
