"""Schemas of tools as every provider takes them, and the way back to the tool's own names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools import schemas
from kubiya_worker.tools.arguments import parse_arguments
from kubiya_worker.tools.schemas import normalized, own_names

KEYWORDS = {
    *("type", "description", "properties", "required", "items", "additionalProperties", "anyOf", "enum"),
    *("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"),
}


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    yield schema
    for member in (schema.get("properties") or {}).values():
        yield from nodes(member)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key])
    for option in schema.get("anyOf") or ():
        yield from nodes(option)


def check(schema: dict[str, Any]) -> None:
    """Hold a schema against what the strictest of the providers takes."""
    assert schema["type"] == "object" and isinstance(schema["properties"], dict) and "anyOf" not in schema
    json.dumps(schema, allow_nan=False).encode()
    for node in nodes(schema):
        assert set(node) <= KEYWORDS, node
        assert isinstance(node.get("type", ""), str)
        assert "type" in node or node.get("anyOf"), node
        assert node.get("type") != "array" or isinstance(node.get("items"), dict), node
        assert all(schemas.NAME.fullmatch(name) for name in node.get("properties") or {})
        assert set(node.get("required") or ()) <= set(node.get("properties") or {})
        assert all(isinstance(word, str) for word in node.get("enum", ["x"])) and node.get("enum", ["x"])
        assert len(node.get("description", "")) <= schemas.TEXT
    for text in {json.dumps(alone(node)) for node in nodes(schema)}:
        jsonschema.Draft202012Validator.check_schema(json.loads(text))


def alone(schema: dict[str, Any]) -> dict[str, Any]:
    """Return one node without those below it, which are held against the same rules: alike ones only once."""
    found = dict(schema)
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), dict):
            found[key] = {}
    if "properties" in found:
        found["properties"] = {name: {} for name in found["properties"]}
    if "anyOf" in found:
        found["anyOf"] = [{} for _ in found["anyOf"]]
    return found


def of(raw: Any) -> dict[str, Any]:
    schema = normalized(raw).schema
    check(schema)
    return schema


EITHER = {"a": {"type": "string"}, "b": {"type": "string"}}


def test_a_union_at_the_top_becomes_one_object_that_says_what_it_needs() -> None:
    schema = of({"type": "object", "properties": EITHER, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]})
    assert schema == {"type": "object", "properties": EITHER, "description": "Needs a or b."}


def test_alternatives_are_joined_and_what_all_demand_is_required() -> None:
    raw = {
        "oneOf": [
            {"properties": {"kind": {"const": "file"}, "path": {"type": "string"}}, "required": ["kind", "path"]},
            {"$ref": "#/$defs/url"},
        ],
        "$defs": {"url": {"properties": {"kind": {"const": "url"}, "url": {"type": "string"}}, "required": ["kind"]}},
    }
    schema = of(raw)
    assert schema["properties"]["kind"] == {"type": "string", "enum": ["file", "url"]}
    assert schema["required"] == ["kind"] and set(schema["properties"]) == {"kind", "path", "url"}


def test_an_array_without_items_has_some() -> None:
    schema = of({"type": "object", "properties": {"tags": {"type": "array"}, "rows": {"type": ["array", "null"]}}})
    assert schema["properties"]["tags"]["items"]["anyOf"]


def test_references_are_written_out_and_a_part_that_holds_itself_ends() -> None:
    tree = {"type": "object", "properties": {"name": {"type": "string"}, "child": {"$ref": "#/$defs/tree"}}}
    made = normalized({"type": "object", "properties": {"root": {"$ref": "#/$defs/tree"}}, "$defs": {"tree": tree}})
    check(made.schema)
    assert made.schema["properties"]["root"]["properties"]["name"] == {"type": "string"}
    assert "a part that holds itself is not described again" in made.notes


def test_references_that_double_at_each_level_stay_bounded() -> None:
    steps = {
        f"d{n}": {"type": "object", "properties": {c: {"$ref": f"#/$defs/d{n + 1}"} for c in "abcd"}} for n in range(20)
    }
    made = normalized({"type": "object", "properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": steps})
    check(made.schema)
    assert schemas.size_of(made.schema) < 2_000_000 and made.notes


def test_all_of_demands_each_of_its_parts() -> None:
    parts = [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"properties": {"b": {"type": "integer"}}}]
    schema = of({"allOf": parts, "required": ["b"]})
    assert set(schema["properties"]) == {"a", "b"} and set(schema["required"]) == {"a", "b"}


def test_constants_booleans_and_types_that_are_missing() -> None:
    members = {"c": {"const": "x"}, "n": {"const": 3}, "any": True, "never": False, "bare": {}, "e": {"enum": [1, 2]}}
    schema = of({"properties": members, "required": ["c", "never", "undeclared"]})
    assert schema["properties"]["c"] == {"type": "string", "enum": ["x"]}
    assert schema["properties"]["n"] == {"type": "integer", "description": "(one of 3)"}
    assert "never" not in schema["properties"] and schema["required"] == ["c", "undeclared"]


@pytest.mark.parametrize(
    "raw", [None, True, [], "x", {"type": "string"}, {"$ref": "#"}, {"properties": []}, {"type": 3}]
)
def test_whatever_is_no_schema_takes_an_object(raw: Any) -> None:
    assert of(raw)["properties"] == {}


def test_odd_names_are_sent_as_others_and_come_back_nested_too() -> None:
    inner = {"type": "object", "properties": {"x/y": {"type": "string"}, "x y": {"type": "string"}}}
    raw = {
        "type": "object",
        "properties": {
            "$filter": {"type": "string"},
            "filter": {"type": "string"},
            "größe": {"type": "array", "items": inner},
            "n" * 90: {"type": "string"},
            "by name": {"type": "object", "additionalProperties": inner},
            "": {"type": "string"},
        },
        "required": ["$filter", "filter"],
    }
    made = normalized(raw)
    check(made.schema)
    sent = {own: name for name, own in made.names[""].items()}
    assert len(set(sent.values())) == 5 and made.schema["required"] == [sent["$filter"], "filter"]
    assert "$filter" in made.schema["properties"][sent["$filter"]]["description"]
    below = {own: name for name, own in made.names[f"/{sent['größe']}/*"].items()}
    free = {own: name for name, own in made.names[f"/{sent['by name']}/+"].items()}
    arguments = {
        sent["$filter"]: "a",
        "filter": "b",
        sent["größe"]: [{below["x/y"]: "1", below["x y"]: "2"}],
        sent["by name"]: {"k": {free["x/y"]: "3"}, sent["$filter"]: {}},
        "undeclared": {sent["$filter"]: 1},
    }
    assert own_names(arguments, made.names) == {
        "$filter": "a",
        "filter": "b",
        "größe": [{"x/y": "1", "x y": "2"}],
        "by name": {"k": {"x/y": "3"}, sent["$filter"]: {}},
        "undeclared": {sent["$filter"]: 1},
    }


def test_one_property_has_one_name_in_all_alternatives() -> None:
    option = {"type": "object", "properties": {"a b": {"type": "string"}, "a_b": {"type": "string"}}}
    made = normalized({"type": "object", "properties": {"x": {"anyOf": [option, {**option, "required": ["a b"]}]}}})
    check(made.schema)
    assert own_names({"x": {"a_b_2": "1", "a_b": "2"}}, made.names) == {"x": {"a b": "1", "a_b": "2"}}


def test_what_is_not_sent_is_said_in_words_and_huge_texts_are_cut() -> None:
    member = {"type": "string", "pattern": "^OPS-", "default": "OPS-1", "description": "long " * 5_000}
    schema = of({"properties": {"id": {**member, "description": "Ticket"}, "long": member, "odd": {"description": 3}}})
    assert schema["properties"]["id"]["description"] == "Ticket (matches ^OPS-; default OPS-1)"
    assert len(schema["properties"]["long"]["description"]) == schemas.TEXT


def test_descriptions_can_be_shortened_and_a_property_may_have_that_name() -> None:
    schema = of({"properties": {"description": {"type": "string", "description": "x" * 100}}})
    assert schemas.shortened(schema, 10)["properties"]["description"]["description"] == "x" * 9 + "…"
    assert schemas.shortened(schema, 0)["properties"] == {"description": {"type": "string"}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*sorted(KEYWORDS), "allOf", "oneOf", "$ref", "$defs", "const", "not", "prefixItems", "format", "x"]
            ),
            inner | st.just("#/$defs/x") | st.just("object") | st.just("array") | st.just("string"),
            max_size=4,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_no_input_whatever_gives_a_schema_that_is_refused(raw: Any) -> None:
    check(normalized(raw).schema)


SIMPLE = st.recursive(
    st.sampled_from(
        [
            {},
            True,
            {"description": "Whatever it is"},
            {"type": "string"},
            {"type": "integer"},
            {"enum": ["a", 1, None]},
            {"const": 2},
            {"type": ["string", "null"]},
            {"type": ["integer", "array", "null"], "minimum": 2, "minItems": 1},
            {"type": "array", "maxItems": 1},
            {"type": "array", "prefixItems": [{"type": "string"}, {"enum": [1]}]},
        ]
    ),
    lambda inner: (
        st.builds(lambda i: {"type": "array", "items": i}, inner)
        | st.builds(lambda word, a, b: {word: [a, b]}, st.sampled_from(["anyOf", "oneOf", "allOf"]), inner, inner)
        | st.builds(lambda a, b: {"type": "object", "properties": {"a": a, "b": b}, "required": ["a"]}, inner, inner)
        | st.builds(lambda a: {"type": "object", "additionalProperties": a}, inner)
    ),
    max_leaves=8,
)
VALUES = st.recursive(
    st.sampled_from(["a", "", 1, 2, None, 1.5, True]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


def test_what_is_only_described_has_a_type_everywhere() -> None:
    about = {"description": "Of any type"}
    check(
        of(
            {
                "type": "object",
                "additionalProperties": about,
                "properties": {
                    "a": about,
                    "b": {"type": "array", "items": about},
                    "c": {"anyOf": [about, {"type": "string"}]},
                    "d": {"type": "object", "additionalProperties": about},
                    "e": {"type": "array", "prefixItems": [about]},
                },
            }
        )
    )


def test_a_value_of_any_type_may_be_an_array_of_anything() -> None:
    made = of({"type": "object", "properties": {"a": {}, "b": {"type": "array"}}})
    for arguments in ({"a": [1, [2], {}]}, {"b": [[1], {"c": [None]}]}):
        assert parse_arguments(ToolSpec("x", "", made), json.dumps(arguments)) == arguments


@settings(max_examples=100, deadline=None)
@given(SIMPLE, VALUES)
def test_what_the_tool_takes_is_never_refused_here(schema: Any, value: Any) -> None:
    raw = {"type": "object", "properties": {"v": schema}}
    if jsonschema.Draft202012Validator(raw).is_valid({"v": value}):
        made = of(raw)
        open_ended = json.loads(
            json.dumps(made).replace('"type": "array", "items": {"type": "string"}', '"type": "array"')
        )
        jsonschema.validate({"v": value}, open_ended)
        assert parse_arguments(ToolSpec("x", "", made), json.dumps({"v": value})) == {"v": value}


NODE: dict[str, Any] = {"$anchor": "node", "type": "integer"}
NAMED: list[tuple[dict[str, Any], str]] = [
    ({"$defs": {"A": NODE}}, "#node"),
    ({"definitions": {"A": {"$dynamicAnchor": "node", "type": "integer"}}}, "#node"),
    ({"definitions": {"A": {"$id": "#node", "type": "integer"}}}, "#node"),
    ({"$defs": {"Outer": {"properties": {"inner": NODE}}}}, "#node"),
    ({"properties": {"other": {"anyOf": [{"type": "string"}, NODE]}}}, "#node"),
    ({"$id": "https://x.test/s.json", "$defs": {"A": NODE}}, "https://x.test/s.json#node"),
    ({"$id": "https://x.test/s.json", "$defs": {"A": NODE}}, "s.json#/$defs/A"),
    ({"$id": "https://x.test/s.json", "$defs": {"A": {"$id": "item.json", "type": "integer"}}}, "item.json"),
    ({"$defs": {"A": {"$id": "https://x.test/item.json", "type": "integer"}}}, "https://x.test/item.json"),
    ({"$id": "urn:a:b", "$defs": {"A": NODE}}, "urn:a:b#/$defs/A"),
]


@pytest.mark.parametrize(("root", "reference"), NAMED)
def test_a_part_is_found_by_its_anchor_or_address_wherever_it_stands(root: dict[str, Any], reference: str) -> None:
    schema = {**root, "type": "object", "properties": {**root.get("properties", {}), "a": {"$ref": reference}}}
    made = schemas.normalized(schema)
    assert made.schema["properties"]["a"] == {"type": "integer"}
    assert made.notes == ()


@pytest.mark.parametrize(
    "mark",
    [
        ({"$anchor": "root"}, {"$ref": "#root"}),
        ({"$dynamicAnchor": "root"}, {"$dynamicRef": "#root"}),
        ({"$recursiveAnchor": True}, {"$recursiveRef": "#"}),
        ({"$id": "https://x.test/tree"}, {"$ref": "https://x.test/tree"}),
        ({"$id": "https://x.test/tree"}, {"$ref": "tree#"}),
    ],
)
def test_a_schema_that_holds_itself_by_name_is_described_once_more(mark: tuple[dict[str, Any], dict[str, Any]]) -> None:
    named, reference = mark
    properties = {"n": {"type": "string"}, "kids": {"type": "array", "items": reference}}
    made = schemas.normalized({**named, "type": "object", "properties": properties})
    assert made.schema["properties"]["kids"]["items"]["properties"]["n"] == {"type": "string"}


@pytest.mark.parametrize("reference", ["#nobody", "other.json", "http://[", "#/$defs/nobody", ""])
def test_what_a_reference_does_not_find_may_be_anything(reference: str) -> None:
    made = schemas.normalized({"type": "object", "properties": {"a": {"$ref": reference}}})
    assert "a" in made.schema["properties"]
