"""Messages as MCP servers really write them are read, and what is none goes nowhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kubiya_worker.tools.mcp import messages, stdio

RESULT = {"content": [{"type": "text", "text": "fine"}]}
ANSWER = {"jsonrpc": "2.0", "id": 5, "result": RESULT}
TEXT = json.dumps(ANSWER)
LOG = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info"}})


@pytest.mark.parametrize(
    "line",
    [
        TEXT,
        f"\ufeff{TEXT}",
        f"\0{TEXT}\r",
        f"Loading... 100%{TEXT}",
        f"progress 50%\r{TEXT}",
        f"\x1b[32mready\x1b[0m {TEXT}\x1b[0m",
        f'{{"level": "info"}} {TEXT} done',
        f"[{TEXT}]",
        json.dumps({**ANSWER, "id": 5.0}),
        json.dumps({**ANSWER, "jsonrpc": "1.0"}),
        json.dumps({**ANSWER, "error": None}),
        json.dumps({"id": 5, "result": RESULT}),
        json.dumps({**ANSWER, "debug": {"x": 1}}),
        json.dumps({**ANSWER, "result": RESULT["content"]}),
        json.dumps({**ANSWER, "result": "fine"}),
        TEXT.replace("fine", "f\tne").replace("f\tne", "fine"),
    ],
)
def test_an_answer_is_found_in_a_line(line: str) -> None:
    assert messages.messages_in(line) == [ANSWER]


def test_a_message_that_python_has_printed_is_read() -> None:
    assert messages.messages_in(str(ANSWER)) == [ANSWER]
    assert messages.messages_in("{'jsonrpc': __import__('os')}") == messages.messages_in("{'level': 'info'}") == []


def test_an_answer_without_a_number_is_one_for_the_call_that_it_can_only_be_meant_for() -> None:
    for line in ({"jsonrpc": "2.0", "result": RESULT}, {"jsonrpc": "2.0", "id": None, "result": RESULT}):
        (unnumbered,) = messages.messages_in(json.dumps(line))
        assert unnumbered["id"] is None and unnumbered["error"]["message"] == messages.NO_NUMBER
        assert messages.numbered(unnumbered, 5) == ANSWER
    (failed,) = messages.messages_in('{"jsonrpc": "2.0", "error": {"code": 1, "message": "no"}}')
    assert messages.numbered(failed, 5) == {"jsonrpc": "2.0", "id": 5, "error": {"code": 1, "message": "no"}}


@pytest.mark.parametrize("line", [f"{LOG}{TEXT}", f"{LOG} {TEXT}", f"[{LOG}, {TEXT}]", f"x{LOG}y{TEXT}z"])
def test_several_messages_of_a_line_come_in_their_order(line: str) -> None:
    assert messages.messages_in(line) == [json.loads(LOG), ANSWER]


@pytest.mark.parametrize(
    "line",
    ["", "Starting...", "42", "null", "[]", '"text"', '{"level": "info", "msg": "hello"}',
     '{"id": 5, "error": "x", "at": 1}', '{"jsonrpc": "2.0"}', '{"broken', '{"id": 5}', "x" * 100_000, '{"id": ' * 100],
)  # fmt: skip
def test_a_log_is_no_message(line: str) -> None:
    assert messages.messages_in(line) == []


@pytest.mark.parametrize(
    ("fields", "made"),
    [
        ({}, {"result": {"content": []}}),
        ({"result": None}, {"result": {"content": []}}),
        ({"result": 5}, {"result": {"content": [{"type": "text", "text": "5"}]}}),
        ({"error": "no"}, {"error": {"code": -32000, "message": "no"}}),
        ({"error": {"message": "no"}}, {"error": {"code": -32000, "message": "no"}}),
        ({"error": {"code": "E", "message": "no", "data": 1}}, {"error": {"code": -32000, "message": "no", "data": 1}}),
        ({"error": {"code": 1, "message": ""}}, {"error": {"code": 1, "message": '{"code": 1, "message": ""}'}}),
        ({"error": ["no"]}, {"error": {"code": -32000, "message": '["no"]'}}),
        ({"error": {"code": 1, "message": "no"}, "result": {}}, {"error": {"code": 1, "message": "no"}}),
        ({"method": "ping", "params": [1]}, {"method": "ping"}),
        ({"method": "ping", "params": {"a": 1}}, {"method": "ping", "params": {"a": 1}}),
        ({"result": {"a": "\ud800"}}, {"result": {"a": "\ufffd"}}),
    ],
)
def test_a_malformed_message_is_made_one(fields: dict[str, Any], made: dict[str, Any]) -> None:
    head = {"jsonrpc": "2.0", "id": 5}
    assert messages.messages_in(json.dumps({**head, **fields})) == [{**head, **made}]


@pytest.mark.parametrize("value", ["9" * 6_000, "[" * 100_000 + "]" * 100_000, '"cut'])
def test_an_answer_that_nobody_can_read_ends_its_call_with_an_error(value: str) -> None:
    line = f'{{"jsonrpc": "2.0", "id": 5, "result": {{"x": {value}}}}}'
    assert messages.messages_in(line) == []
    (found,) = messages.unreadable(line)
    assert found["id"] == 5 and found["error"]["message"] == messages.UNREADABLE


def test_an_answer_that_was_cut_before_its_number_is_an_error_without_one() -> None:
    (found,) = messages.unreadable('{"jsonrpc":"2.0","result":{"content":[{"te')
    assert found["id"] is None and found["error"]["message"] == messages.UNREADABLE
    assert messages.unreadable('{"jsonrpc":"2.0","method":"notifications/mess') == []
    assert messages.unreadable('{"level":"info","mes') == []


def read(text: str) -> tuple[list[Any], list[bytes]]:
    """(ids of the messages in the lines of a text, the lines that are none)."""
    noise: list[bytes] = []
    lines = stdio._MessageLines(noise.append)
    *whole, rest = text.encode().split(b"\n")
    found = [message for line in whole for message in lines.messages(line)]
    found += lines.without_end(rest) if rest else []
    return [message.message.id for message in [*found, *lines.given_up()]], noise


@pytest.mark.parametrize(
    ("text", "ids", "noise"),
    [
        (f"Content-Length: {len(TEXT)}\r\n\r\n{TEXT}", [5], [b"Content-Length: %d" % len(TEXT)]),
        (TEXT, [5], []),
        (f"{TEXT}\r", [5], []),
        (f"{TEXT}{TEXT}", [5, 5], []),
        (json.dumps(ANSWER, indent=1).replace("{\n", "{", 1) + "\n", [5], []),
        ("LOG: " + json.dumps(ANSWER, indent=1) + "\n", [5], []),
        (TEXT.replace("fine", "one\ntwo") + "\n", [5], []),
        (TEXT.replace("fine", "one {\n} two") + "\n", [5], []),
        (f"{TEXT[:40]}\n{TEXT}\n", [5, 5], []),
        (f"{TEXT[:40]}\n", [5], []),
        ("function() {\n  return 1\n", [], [b"function() {", b"  return 1"]),
        ('{"level": "info"', [], []),
    ],
)
def test_messages_are_found_however_their_lines_end(text: str, ids: list[int], noise: list[bytes]) -> None:
    pytest.importorskip("mcp")
    assert read(text) == (ids, noise)


def test_lines_of_logs_are_kept_apart_and_a_message_may_have_several_lines() -> None:
    pytest.importorskip("mcp")
    noise: list[bytes] = []
    lines = stdio._MessageLines(noise.append)
    text = f"Starting\n\n{{\nhello\n{TEXT}\n{json.dumps(ANSWER, indent=2)}\ncaf\n".encode() + b"\xe9"
    found = [message for line in text.split(b"\n") for message in lines.messages(line)]
    assert [message.message.id for message in found] == [5, 5]
    assert noise == [b"Starting", b"{", b"hello", b"caf", b"\xe9"]
