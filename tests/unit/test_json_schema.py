"""The words of JSON Schema that tool calls and answers are checked for."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from kubiya_worker import json_schema


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


@pytest.mark.parametrize("ref", ["http://127.0.0.1:9/x.json", "file:///etc/passwd", "other.json#/a"])
def test_a_reference_to_elsewhere_is_refused_and_never_fetched(ref: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*given: Any) -> None:
        raise AssertionError(f"it connects: {given}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    for use in (lambda: json_schema.check({"$ref": ref}), lambda: list(json_schema.problems(1, {"$ref": ref}))):
        with pytest.raises(ValueError, match="does not point into the schema itself"):
            use()


def test_infinity_and_huge_numbers_are_checked_without_an_error() -> None:
    assert list(json_schema.problems(float("inf"), {"type": "integer"})) == ["the answer is Infinity, not integer"]
    assert list(json_schema.problems(10**400, {"multipleOf": 0.5}))
    assert not list(json_schema.problems(10**400, {"multipleOf": 5}))
