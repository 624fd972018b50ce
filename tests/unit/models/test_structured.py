"""Answers that have to be JSON: what is asked for, what fits, and what is refused by name."""

from __future__ import annotations

import re
from typing import Any

import pytest

from kubiya_worker.models import structured

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 1}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "config",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": PERSON}}},
        {"response_format": PERSON},
        {"response_format": {"name": "p", "schema": PERSON, "strict": True}},
        {"structured_outputs": PERSON},
        {"structured_outputs": True, "response_model": PERSON},
    ],
)
def test_a_schema_is_found_however_it_is_given(config: dict[str, Any]) -> None:
    wanted = structured.requested_format(config)
    assert wanted is not None and wanted["json_schema"]["schema"] == PERSON


@pytest.mark.parametrize("config", [{}, {"response_format": None}, {"response_format": {"type": "text"}}])
def test_nothing_is_asked_for(config: dict[str, Any]) -> None:
    assert structured.requested_format(config) is None


@pytest.mark.parametrize("config", [{"response_format": {"type": "json_object"}}, {"structured_outputs": True}])
def test_a_format_without_a_schema_takes_any_object(config: dict[str, Any]) -> None:
    wanted = structured.requested_format(config)
    assert wanted == structured.ANY
    assert structured.read('{"a": 1}', wanted)[1] == ""
    assert "no JSON object" in structured.read("[1]", wanted)[1]


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"response_model": "Person"}, "response_model"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "object", "unevaluatedProperties": False}}, "unevaluatedProperties"),
        ({"response_format": {"type": "objekt", "properties": {}}}, "objekt"),
        ({"response_format": {"$ref": "https://example.org/x.json"}}, "$ref"),
        ({"response_format": {"type": "string", "pattern": "("}}, "pattern"),
        ({"response_format": 7}, "response_format"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(config: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=re.escape(named)):
        structured.requested_format(config)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"name": "Ada", "age": 36}', ""),
        ('```json\n{"name": "Ada", "age": 36}\n```', ""),
        ('  {"name": "Ada", "age": 36.0}\n', ""),
        ("The answer is 42.", "no JSON"),
        ("", "empty"),
        ('{"name": "Ada"}', "age is missing"),
        ('{"name": "Ada", "age": "36"}', 'age is "36", not integer'),
        ('{"name": "Ada", "age": true}', "age is true, not integer"),
        ('{"name": "Ada", "age": -1}', "not at least 0"),
        ('{"name": "", "age": 1}', "at least 1"),
        ('{"name": "Ada", "age": 1, "x": 1}', "x is not in the schema"),
        ("[" * 100_000, "it is"),
    ],
)
def test_what_does_not_fit_is_said(text: str, problem: str) -> None:
    wanted = structured.requested_format({"response_format": PERSON})
    assert wanted is not None
    read, told = structured.read(text, wanted)
    assert (told == "") == (problem == "") and problem in told
    assert "```" not in read or told
