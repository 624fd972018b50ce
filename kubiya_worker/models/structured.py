"""This module handles answers that must be JSON of a given form: what an agent asks for, and whether an answer fits.

Ways to ask: OpenAI's {"type": "json_schema", "json_schema": {name, schema}}, {"type": "json_object"}, a JSON schema
by itself, or `structured_outputs: true` beside one of them (or alone: any JSON object). Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from kubiya_worker import json_schema

KEYS: Final = ("response_format", "structured_outputs", "response_model")
SHOWN: Final = 8  # problems of one answer that are shown
ANY: Final[dict[str, Any]] = {"type": "json_object"}
_FENCE: Final = re.compile(r"^\s*```[a-zA-Z0-9_-]*[ \t]*\n(.*?)\n?\s*```\s*$", re.DOTALL)
_SCHEMA_WORDS: Final = frozenset({"type", "properties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const", "items"})


def requested_format(*places: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return OpenAI's response_format from the first configuration that asks for one, or None.

    Raise ValueError with the part that is not supported.
    """
    for place in places:
        for key in KEYS:
            value = place.get(key)
            if value in (None, False, "", "text") or value == {}:
                continue
            if value is True:
                if key == "structured_outputs" and not any(other.get(k) for other in places for k in KEYS if k != key):
                    return dict(ANY)
                continue
            return _format(value, key)
    return None


def _format(value: Any, key: str) -> dict[str, Any] | None:
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f"{key} is no JSON: {error}") from None
    if value in ("json", "json_object"):
        return dict(ANY)
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} is a JSON schema or OpenAI's response_format, not {str(value)[:60]!r}")
    kind = value.get("type")
    if kind == "text":
        return None
    if kind == "json_object" and "properties" not in value:
        return dict(ANY)
    description = value.get("json_schema") if kind == "json_schema" else None
    schema: Any = value
    if isinstance(description, Mapping):
        schema = description.get("schema", description if _SCHEMA_WORDS & set(description) else None)
    elif kind == "json_schema":
        schema = value.get("schema")
    elif isinstance(value.get("schema"), Mapping):
        description, schema = value, value["schema"]
    if schema is None or not (isinstance(schema, Mapping) and (_SCHEMA_WORDS & set(schema) or not schema)):
        raise ValueError(f"{key} has no JSON schema")
    try:
        json_schema.check(schema)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    description = description if isinstance(description, Mapping) else {}
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", str(description.get("name") or schema.get("title") or "answer"))[:64]
    inner: dict[str, Any] = {"name": name or "answer", "schema": dict(schema)}
    if isinstance(description.get("strict"), bool):
        inner["strict"] = description["strict"]
    return {"type": "json_schema", "json_schema": inner}


def instruction(response_format: Mapping[str, Any]) -> str:
    """Return the instruction for the model, needed by endpoints that do not take a response_format."""
    if response_format["type"] == "json_object":
        return "Your final answer is one JSON object and nothing else: no other text, no code fence."
    schema = json.dumps(response_format["json_schema"]["schema"], ensure_ascii=False, sort_keys=True)
    return (
        "Your final answer is JSON that fits the following JSON schema, and nothing else: no other text, no code "
        f"fence. Use tools as usual before it.\n{schema}"
    )


def read(text: str, response_format: Mapping[str, Any]) -> tuple[str, str]:
    """Return (the JSON of an answer, its problems); the second text is empty when there are none."""
    fenced = _FENCE.match(text)
    text = (fenced.group(1) if fenced else text).strip()
    try:
        value = json.loads(text)
    except ValueError as error:
        return text, f"it is no JSON: {error}" if text else "it is empty"
    except RecursionError:
        return text, "it is nested too deep"
    if response_format["type"] == "json_object":
        return text, "" if isinstance(value, dict) else "it is no JSON object"
    problems = json_schema.problems(value, response_format["json_schema"]["schema"])
    shown = [problem for _, problem in zip(range(SHOWN), problems, strict=False)]
    return text, "; ".join(shown)[:1500]
