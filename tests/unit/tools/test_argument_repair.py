"""Calls that are not quite ones: what is mended, and above all what is not."""

# ruff: noqa: RUF001 - typographic quotes and wide marks are what some of these cases are about

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubiya_worker.tools.argument_repair import repaired_arguments, repaired_name

GOOD = {"command": "echo one"}


@pytest.mark.parametrize(
    "raw",
    [
        '{"command": "echo one",}',
        '{"command": "echo one", \n }',
        '{"command": "echo one"},',
        '```json\n{"command": "echo one"}\n```',
        '```\n{"command": "echo one"}```',
        '```json\n{"command": "echo one",}\n```',
        json.dumps('{"command": "echo one"}'),
        json.dumps(json.dumps('{"command": "echo one"}')),
        json.dumps('{"command": "echo one",}'),
        '{"command": "echo one"}<|call|>',
        '<tool_call>{"command": "echo one"}</tool_call>',
        '\ufeff{"command": "echo one"}',
        '{"command": "echo one"}{"command":"echo one"}',
        '{}{"command": "echo one"}',
        "{'command': 'echo one'}",
        '{command: "echo one"}',
        '{"command": "echo one" /* it */ // now\n}',
        '{"command": "echo one"}}',
        '{"command": "echo one"};',
        '{"command": "echo one"}\n\nI run it now.',
        '{"command": "echo one"}</s>',
        '{"command": "echo one"}\0',
        '[{"command": "echo one"}]',
        '{\\"command\\": \\"echo one\\"}',
        '{\xa0"command":\xa0"echo one"}',
        'json\n{"command": "echo one"}',
        'arguments={"command": "echo one"}',
        '```json\n{"command": "echo one"}',
        '~~~json\n{"command": "echo one"}\n~~~',
        '`{"command": "echo one"}`',
        json.dumps("{'command': 'echo one'}"),
        "{“command”: “echo one”}",
        '{"command": “echo one”}',
        "{”command”: ”echo one”}",
        "{„command“: „echo one“}",
        "{‘command’: ‘echo one’}",
        "{«command»: «echo one»}",
        '{"command"："echo one"，}',
        "｛“command”：“echo one”｝",
        "```json\n{“command”: “echo one”,}\n```",
        '({"command": "echo one"})',
        '"{"command": "echo one"}"',
        '\'{"command": "echo one"}\'',
        '{{"command": "echo one"}}',
        '{"command" = "echo one"}',
        '{"command" => "echo one";}',
        "{&quot;command&quot;: &quot;echo one&quot;}",
        '{"command": `echo one`}',
        '{"command": "echo one"  # run it\n}',
        "{'command': '''echo one'''}",
        '<｜tool▁call▁begin｜>{"command": "echo one"}',
        '[TOOL_CALLS]{"command": "echo one"}[/TOOL_CALL]',
        '{"command": "echo one"}<end_of_turn>',
        '{"command": "echo one"}{}',
        'tool_input: {"command": "echo one"}',
        '\u200b{"command": "echo one"\ufeff}',
        "{\\u0022command\\u0022: \\u0022echo one\\u0022}",
        '{\\n  "command": "echo one"\\n}',
        '```json\n```json\n{"command": "echo one"}\n```\n```',
    ],
)
def test_what_can_mean_one_thing_only_is_mended(raw: str) -> None:
    mended = repaired_arguments(raw)
    assert mended is not None and json.loads(mended.text) == GOOD
    assert mended.what


@pytest.mark.parametrize(
    "raw",
    [
        '{"command": "echo one"',
        '{"command": "echo one',
        '{"command": "echo one", "a": ',
        '{"command": "echo one",',
        '```json\n{"command": "echo on',
        '"{\\"command\\": \\"echo one',
        '{"command": "a"}{"command": "b"}',
        "{'command': 'it's'}",
        r"{'command': 'a\d'}",
        "{command: one}",
        '{"command": "a"}, {"command": "b"}',
        "{'command': 'echo one'",
        '[{"command": "a"}, {"command": "b"}]',
        'Never run {"command": "a"}',
        '{"a": 1,,}',
        '{"a":,}',
        "{,}",
        "[,]",
        "{“command”: “he said “no””}",
        "{‘command’: ‘it’s’}",
        '{“command": “echo one”}',
        "{“command”: “echo",
        "{“a”: “x\\”}",
        "not json",
        '{"command": "echo "one""}',
        '{"command": "echo " "one"}',
        '{"command": "say "hi": there"}',
        '{"command": `echo ${x}`}',
        '{"a": 05}',
        '(["ls"])',
        '{{"command": "echo one"}',
        "{&quot;command&quot;: &quot;echo",
        '["ls"]',
        '"ls"',
        "3",
    ],
)
def test_what_was_cut_or_is_a_guess_is_left_as_it_is(raw: str) -> None:
    assert repaired_arguments(raw) is None


@pytest.mark.parametrize(
    "raw",
    ['{"a": 1}', "{}", '{"a": "“b”：，"}', '{"a": "x, }"}', '{"a": "```json\\n{}\\n```"}', '{"a": "{\\"b\\": 1,}"}'],
)
def test_what_is_right_is_not_touched(raw: str) -> None:
    assert repaired_arguments(raw) is None


def test_control_characters_within_a_text_are_meant() -> None:
    mended = repaired_arguments('{"command": "a\tb\nc", "d": "e\\"\r",}')
    assert mended is not None
    assert json.loads(mended.text) == {"command": "a\tb\nc", "d": 'e"\r'}
    assert "control character" in mended.what and "comma" in mended.what


def test_plain_quotes_and_escapes_within_typographic_ones_are_text() -> None:
    mended = repaired_arguments(r"""{“a”: “say "no" \"yes\" 'it’s' \\”, "b": "“c”", “d”: “x\ty”}""")
    assert mended is not None
    assert json.loads(mended.text) == {"a": 'say "no" "yes" \'it’s\' \\', "b": "“c”", "d": "x\ty"}
    assert "typographic" in mended.what


def test_words_and_quotes_of_python_are_json() -> None:
    mended = repaired_arguments("""{'a': None, 'b': [True, False], 'c': 'say "no" \\'', "d": "None // ' True",}""")
    assert mended is not None
    assert json.loads(mended.text) == {"a": None, "b": [True, False], "c": 'say "no" \'', "d": "None // ' True"}


def test_an_escaped_single_quote_is_one_and_other_escapes_stay() -> None:
    mended = repaired_arguments(r"""{"a": "it\'s", "b": "x\\'y\n"}""")
    assert mended is not None and json.loads(mended.text) == {"a": "it's", "b": "x\\'y\n"}


def test_half_a_character_is_replaced() -> None:
    mended = repaired_arguments('{"a": "x\\ud83c y", "b": "\\ud83c\\udf89"}')
    assert mended is not None and json.loads(mended.text) == {"a": "x\ufffd y", "b": "🎉"}


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ('{"a": "x" "b": 5}', {"a": "x", "b": 5}),
        ('{"a": 1\n "b": true\n "c": "y"}', {"a": 1, "b": True, "c": "y"}),
        ('{"a": +5, "b": 5., "c": .5}', {"a": 5, "b": 5.0, "c": 0.5}),
        ('{"a": undefined, "b": TRUE, "c": NULL}', {"a": None, "b": True, "c": None}),
    ],
)
def test_slips_between_members(raw: str, value: dict[str, object]) -> None:
    mended = repaired_arguments(raw)
    assert mended is not None and json.loads(mended.text) == value


@pytest.mark.parametrize("raw", ["null", "[]", " [ ] ", '"[]"'])
def test_null_and_an_empty_list_mean_no_arguments(raw: str) -> None:
    mended = repaired_arguments(raw)
    assert mended is not None and mended.text == "{}"


@given(st.dictionaries(st.text(), st.text() | st.lists(st.text() | st.integers()), max_size=3))
def test_nothing_within_a_text_changes(value: dict[str, object]) -> None:
    raw = json.dumps(value, ensure_ascii=False)
    assert repaired_arguments(raw) is None
    for broken in (f"```\n{raw}\n```", json.dumps(raw), raw[:-1] + ",}" if value else raw + ","):
        mended = repaired_arguments(broken)
        assert mended is not None and json.loads(mended.text) == value


KNOWN = ["shell", "read_file", "file.read", "now"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("functions.shell", "shell"),
        ("default_api.shell", "shell"),
        ("default_api:shell", "shell"),
        ("a.b.shell", "shell"),
        ("tools/shell", "shell"),
        ("ns::shell", "shell"),
        ("functions.file.read", "file.read"),
        ("tool:shell", "shell"),
        ("tools_shell", "shell"),
        ("default_api__shell", "shell"),
        ("shell_0", "shell"),
        ("shell-12", "shell"),
        ("functions.shell_0", "shell"),
        ("now_2<|x|>shell_2", None),
        ("shell_x", None),
        ("shell<|channel|>commentary", "shell"),
        ("shell<|channel|>json", "shell"),
        ("<|channel|>commentary to=functions.shell", "shell"),
        ("functions.shell<|constrain|>json", "shell"),
        ("shell:0", "shell"),
        ("functions.shell:12", "shell"),
        (" shell\n", "shell"),
        ("`shell`", "shell"),
        ("shell()", "shell"),
        ("shell 1", "shell"),
        ("shell.0", "shell"),
        ("1. shell", "shell"),
        ("**shell**", "shell"),
        ("<function=shell>", "shell"),
        ("shell</tool_call>", "shell"),
        ("shell\u200b", "shell"),
        ("shell\0", "shell"),
        ("functions_shell", "shell"),
        ("shellshell", "shell"),
        ("shell<｜tool▁sep｜>", "shell"),
        ("<｜tool▁call▁begin｜>function<｜tool▁sep｜>shell", "shell"),
        ("[TOOL_CALLS]shell", "shell"),
        ("<tool_call>shell", "shell"),
        ('<function_calls><invoke name="shell">', "shell"),
        ("shell\\n", "shell"),
        ("‘shell’", "shell"),
        ("shell({", "shell"),
        ("shell=", "shell"),
        ("shell__0", "shell"),
        ("shell (1)", "shell"),
        ("shell[0]", "shell"),
        ("shell@0", "shell"),
        ("\u3000shell\u00a0", "shell"),
        ("->shell", "shell"),
        ("|shell|", "shell"),
        ("• shell", "shell"),
        ("shell?", "shell"),
        ("shell tool_call", None),
        ("run shell", None),
        ("shell_", None),
        ("shell|now", None),
        ("files__shell", None),
        ("powershell", None),
        ("shell", None),
        ("Shell", None),
        ("shel", None),
        ("shells", None),
        ("shell_1", "shell"),
        ("shell now", None),
        ("shell.other", None),
        ("", None),
        ("shell<|x|>now", None),
    ],
)
def test_a_name_is_repaired_only_where_one_tool_is_meant(name: str, meant: str | None) -> None:
    assert repaired_name(name, KNOWN) == meant


def test_a_name_that_a_tool_has_is_never_taken_for_another_tool() -> None:
    assert repaired_name("shell_0", ["shell", "shell_0"]) is None
    assert repaired_name("functions.shell_0", ["shell", "shell_0"]) is None
