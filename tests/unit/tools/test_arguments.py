"""Arguments of tool calls are checked by the tool's schema, and the model is told what does not fit."""

import pytest

from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.arguments import parse_arguments
from kubiya_worker.tools.base import ToolArgumentsError

SPEC = ToolSpec(
    "shell",
    "",
    {
        "type": "object",
        "properties": {
            "command": {"type": "string", "minLength": 1},
            "timeout": {"type": "number", "minimum": 1, "maximum": 10},
            "count": {"type": ["integer", "null"]},
            "mode": {"enum": ["fast", "slow"]},
            "names": {"type": "array", "items": {"type": "string"}},
            "inner": {"type": "object", "properties": {"x": {"type": "boolean"}}, "required": ["x"]},
        },
        "required": ["command"],
        "additionalProperties": False,
    },
)


@pytest.mark.parametrize(
    "raw",
    [
        '{"command": "ls"}',
        '{"command": "ls", "timeout": 2.5, "count": 3, "mode": "fast", "names": ["a"], "inner": {"x": true}}',
        '{"command": "ls", "count": null}',
        '{"command": "ls", "count": 3.0}',
    ],
)
def test_arguments_that_fit_are_returned_as_they_are(raw: str) -> None:
    assert parse_arguments(SPEC, raw)["command"] == "ls"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ('{"command": "ls"', "not valid JSON"),
        ("ls", "not valid JSON"),
        ('{"command": NaN}', "not valid JSON"),
        ('["ls"]', "an array, not an object"),
        ('"ls"', "a string, not an object"),
        ("null", "null, not an object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"command": "\\ud800"}', "surrogate"),
        ("", "command is missing"),
        ('{"comand": "ls"}', "did you mean command?"),
        ('{"command": ""}', "command has 0 characters, not at least 1"),
        ('{"command": ["ls"]}', 'command is ["ls"], not string'),
        ('{"command": "ls", "timeout": "soon"}', 'timeout is "soon", not number'),
        ('{"command": "ls", "timeout": "11"}', 'timeout is "11", not number'),
        ('{"command": "ls", "timeout": true}', "timeout is true, not number"),
        ('{"command": "ls", "timeout": 11}', "timeout is 11, not at most 10"),
        ('{"command": "ls", "count": 1.5}', "count is 1.5, not integer or null"),
        ('{"command": "ls", "mode": "medium"}', 'mode is "medium", not one of ["fast", "slow"]'),
        ('{"command": "ls", "names": ["a", true]}', "names[1] is true, not string"),
        ('{"command": "ls", "inner": {}}', "inner.x is missing"),
    ],
)
def test_what_does_not_fit_is_explained_to_the_model(raw: str, message: str) -> None:
    with pytest.raises(ToolArgumentsError) as caught:
        parse_arguments(SPEC, raw)
    assert message in str(caught.value)
    assert "Send" in str(caught.value) or "nested" in str(caught.value)


def test_no_text_is_no_arguments() -> None:
    assert parse_arguments(ToolSpec("now", ""), " ") == {}


def test_members_that_a_schema_leaves_open_pass() -> None:
    spec = ToolSpec("x", "", {"type": "object", "additionalProperties": {"type": "integer"}})
    assert parse_arguments(spec, '{"a": 1}') == {"a": 1}
    with pytest.raises(ToolArgumentsError):
        parse_arguments(spec, '{"a": "1"}')


UNION = {
    "$defs": {"step": {"type": "object", "properties": {"next": {"$ref": "#/$defs/step"}, "n": {"type": "integer"}}}},
    "type": "object",
    "properties": {
        "when": {"anyOf": [{"type": "string"}, {"type": "object", "required": ["at"]}]},
        "plan": {"$ref": "#/$defs/step"},
    },
}


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ('{"when": "now", "plan": {"n": 1, "next": {"n": 2}}}', None),
        ('{"when": {"at": 1}}', None),
        ('{"when": {}}', "when.at is missing"),
        ('{"when": 1}', "when is 1, not string or object"),
        ('{"plan": {"next": {"next": {"n": "2"}}}}', 'plan.next.next.n is "2", not integer'),
    ],
)
def test_unions_and_references_are_checked(raw: str, problem: str | None) -> None:
    spec = ToolSpec("x", "", UNION)
    if problem is None:
        parse_arguments(spec, raw)
        return
    with pytest.raises(ToolArgumentsError) as caught:
        parse_arguments(spec, raw)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": []},
        {"properties": {"a": None}},
        {"properties": {"a": {"pattern": "("}}},
        {"properties": {"a": {"$ref": "#/nowhere"}}},
        {"properties": {"a": {"type": "text"}}},
    ],
)
def test_a_malformed_schema_leaves_the_check_to_the_tool(schema: dict[str, object]) -> None:
    assert parse_arguments(ToolSpec("x", "", schema), '{"a": "b"}') == {"a": "b"}


@pytest.mark.parametrize(
    ("raw", "given"),
    [
        ('{"command": "ls", "timeout": null}', {"command": "ls"}),
        ('{"command": "ls", "mode": null, "names": null}', {"command": "ls"}),
        ('{"command": "ls", "count": null}', {"command": "ls", "count": None}),
        ('{"command": "ls", "inner": null}', {"command": "ls"}),
    ],
)
def test_null_for_an_optional_argument_is_as_if_it_was_not_given(raw: str, given: dict[str, object]) -> None:
    assert parse_arguments(SPEC, raw) == given


@pytest.mark.parametrize(
    "raw", ['{"command": null}', '{"command": "ls", "inner": {"x": null}}', '{"command": "ls", "unknown": null}']
)
def test_null_for_a_required_or_unknown_argument_is_told(raw: str) -> None:
    with pytest.raises(ToolArgumentsError):
        parse_arguments(SPEC, raw)


def test_null_is_left_out_at_every_depth_and_where_a_reference_takes_none() -> None:
    member = {"type": "object", "properties": {"name": {"$ref": "#/$defs/text"}, "any": {}, "or": {"anyOf": [True]}}}
    parameters = {
        "type": "object",
        "properties": {"all": {"type": "array", "items": member}},
        "$defs": {"text": {"type": "string"}},
    }
    raw = '{"all": [{"name": null, "any": null, "or": null}, {"name": "a"}]}'
    assert parse_arguments(ToolSpec("t", "", parameters), raw) == {"all": [{"any": None, "or": None}, {"name": "a"}]}


@pytest.mark.parametrize(
    ("raw", "given"),
    [
        ('{"command": "ls", "timeout": "5"}', {"command": "ls", "timeout": 5}),
        ('{"command": "ls", "timeout": "2.5", "count": "3"}', {"command": "ls", "timeout": 2.5, "count": 3}),
        ('{"command": "ls", "count": "null"}', {"command": "ls", "count": None}),
        ('{"command": "ls", "names": "[\\"a\\", \\"b\\"]"}', {"command": "ls", "names": ["a", "b"]}),
        ('{"command": "ls", "names": [7, "8"]}', {"command": "ls", "names": ["7", "8"]}),
        ('{"command": "ls", "inner": {"x": "True"}}', {"command": "ls", "inner": {"x": True}}),
        ('{"command": "ls", "inner": "{\\"x\\": false}"}', {"command": "ls", "inner": {"x": False}}),
        ('{"command": 7}', {"command": "7"}),
        ('{"command": "5"}', {"command": "5"}),
        ('{"command": "[1]", "names": []}', {"command": "[1]", "names": []}),
        ('{"name": "shell", "arguments": {"command": "ls"}}', {"command": "ls"}),
        (
            '{"parameters": {"command": "ls", "timeout": "5", "count": null}}',
            {"command": "ls", "timeout": 5, "count": None},
        ),
        ('{"arguments": "{\\"command\\": \\"ls\\"}"}', {"command": "ls"}),
    ],
)
def test_a_value_that_can_mean_one_thing_only_is_taken_as_that(raw: str, given: dict[str, object]) -> None:
    assert parse_arguments(SPEC, raw) == given


@pytest.mark.parametrize(
    "raw",
    [
        '{"name": "other", "arguments": {"command": "ls"}}',
        '{"arguments": {"command": "ls"}, "input": {"command": "ps"}}',
        '{"arguments": {"command": "ls"}, "mode": "fast"}',
        '{"arguments": {"comand": "ls"}}',
        '{"command": ["ls"]}',
        '{"command": true}',
        '{"command": "ls", "names": "a"}',
        '{"command": "ls", "inner": {"x": "yes"}}',
    ],
)
def test_what_may_mean_something_else_is_told(raw: str) -> None:
    with pytest.raises(ToolArgumentsError, match="do not fit"):
        parse_arguments(SPEC, raw)


def test_a_tool_that_takes_such_a_name_gets_it() -> None:
    spec = ToolSpec("call", "", {"type": "object", "properties": {"arguments": {"type": "object"}}})
    assert parse_arguments(spec, '{"arguments": {"command": "ls"}}') == {"arguments": {"command": "ls"}}
