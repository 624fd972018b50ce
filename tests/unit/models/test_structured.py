"""Answers that have to be JSON: what is asked for, what fits, and what is refused by name."""

from __future__ import annotations

import re
from typing import Any

import pytest

from kubiya_worker.models import json_schema, structured

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
    wanted = structured.wanted(config)
    assert wanted is not None and wanted["json_schema"]["schema"] == PERSON


@pytest.mark.parametrize("config", [{}, {"response_format": None}, {"response_format": {"type": "text"}}])
def test_nothing_is_asked_for(config: dict[str, Any]) -> None:
    assert structured.wanted(config) is None


@pytest.mark.parametrize("config", [{"response_format": {"type": "json_object"}}, {"structured_outputs": True}])
def test_any_object(config: dict[str, Any]) -> None:
    wanted = structured.wanted(config)
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
        structured.wanted(config)


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
    wanted = structured.wanted({"response_format": PERSON})
    assert wanted is not None
    read, told = structured.read(text, wanted)
    assert (told == "") == (problem == "") and problem in told
    assert "```" not in read or told


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, None, 3),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, 1.5, 1),
        ({"allOf": [{"minimum": 1}, {"maximum": 3}]}, 2, 4),
        ({"not": {"type": "string"}}, 1, "x"),
        ({"enum": ["a", 1]}, 1, True),
        ({"const": {"a": [1]}}, {"a": [1]}, {"a": [2]}),
        ({"type": ["string", "null"]}, None, 1),
        ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, [1, 2], [1, 1]),
        ({"type": "array", "prefixItems": [{"type": "string"}], "items": False}, ["a"], ["a", 1]),
        ({"type": "array", "minItems": 2}, [1, 2], [1]),
        ({"type": "array", "contains": {"const": 3}}, [3], [4]),
        ({"patternProperties": {"^n_": {"type": "number"}}}, {"n_a": 1}, {"n_a": "1"}),
        ({"propertyNames": {"pattern": "^[a-z]+$"}}, {"a": 1}, {"A": 1}),
        ({"additionalProperties": {"type": "string"}}, {"a": "1"}, {"a": 1}),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"a": 1, "b": 1}, {"a": 1}),
        ({"multipleOf": 0.1}, 0.3, 0.35),
        ({"type": "string", "nullable": True}, None, 1),
        ({"$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"},
         {"next": {"next": {}}}, {"next": {"next": 1}}),
        ({"pattern": "^\\d+$"}, "12", "a"),
        ({"exclusiveMaximum": 3}, 2, 3),
    ],
)  # fmt: skip
def test_the_words_of_a_schema(schema: dict[str, Any], good: Any, bad: Any) -> None:
    json_schema.check(schema)
    assert list(json_schema.problems(good, schema)) == []
    assert list(json_schema.problems(bad, schema))


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {"$ref": "#"}
    json_schema.check(schema)
    assert "too deep" in next(json_schema.problems(1, schema))
