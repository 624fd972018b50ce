"""These tests compare a run with its test, and look for what an export takes for a fact: pure functions."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.cli.run_calls import CallMade, RunReading
from kubiya_worker.cli.run_test_checks import checked
from kubiya_worker.cli.run_test_export import as_it_was, document, facts
from kubiya_worker.cli.run_test_file import RunTest


def expecting(**expect: Any) -> RunTest:
    definitions = [{"kind": "Agent", "name": "a", "spec": {}}]
    body = {"agent": "a", "prompts": ["p"], "definitions": definitions, "model": [], "expect": expect}
    return RunTest.model_validate(body)


def shell(*commands: str, agent: str = "a") -> list[CallMade]:
    return [CallMade(f"{agent}{n}", agent, "shell", {"command": c}, "success") for n, c in enumerate(commands)]


def wanted(*commands: str, agent: str = "a") -> list[dict[str, Any]]:
    return [{"agent": agent, "tool": "shell", "arguments": {"command": command}} for command in commands]


@pytest.mark.parametrize(
    ("expected", "made", "more", "differs"),
    [
        ("abc", "abc", False, []),
        ("abc", "ac", False, [("call 2", "shell b", "-")]),
        ("ac", "abc", False, [("call more", "-", "shell b → success")]),
        ("ac", "abcd", True, []),
        ("abc", "axc", False, [("call 2", "shell b", "shell x → success")]),
        ("abc", "bca", False, [("call 1", "shell a", "-"), ("call more", "-", "shell a → success")]),
        ("", "a", False, [("call more", "-", "shell a → success")]),
        ("ab", "", True, [("call 1", "shell a", "-"), ("call 2", "shell b", "-")]),
        ("aab", "ab", False, [("call 2", "shell a", "-")]),
    ],
)
def test_calls_are_set_side_by_side_in_their_order(
    expected: str, made: str, more: bool, differs: list[tuple[str, str, str]]
) -> None:
    test = expecting(calls=wanted(*expected), more_calls=more)
    lines = checked(test, {}, shell(*made), [])
    assert [(x.expectation, x.recorded, x.now) for x in lines if not x.holds] == differs
    assert sum(x.holds for x in lines) == len(expected) - sum(x[1] != "-" for x in differs)


def test_agents_of_a_team_are_compared_each_for_itself() -> None:
    test = expecting(calls=[*wanted("x"), *wanted("y", agent="b")])
    assert all(x.holds for x in checked(test, {}, [*shell("y", agent="b"), *shell("x")], []))
    lines = checked(test, {}, [*shell("x"), *shell("z", agent="c")], [])
    assert [x.expectation for x in lines if not x.holds] == ["call 1 of b", "call of c more"]


def test_an_argument_that_is_not_named_may_be_anything_and_an_outcome_counts() -> None:
    call = CallMade("1", "a", "shell", {"command": "df", "cwd": "/"}, "denied", error="no")
    free = expecting(calls=[{"agent": "a", "tool": "shell"}, {"agent": "a", "tool": "shell", "outcome": "success"}])
    assert [x.holds for x in checked(free, {}, [call, call], [])] == [True, False]


def test_the_status_and_the_answer_are_looked_at_without_case_and_line_breaks() -> None:
    test = expecting(status="completed", answer_contains=["disk  IS\nfull", "42"])
    run = {"status": "failed", "error_message": "no model", "response": "The Disk is full."}
    told = [(x.now, x.holds) for x in checked(test, run, [], [])]
    assert told == [("failed: no model", False), ("said", True), ("The Disk is full.", False)]


def test_an_export_expects_what_tools_have_told() -> None:
    call = CallMade("1", "a", "shell", {"command": "du /srv/big"}, "success", output="93% /dev/sda1 1.5 GB\n")
    assert facts("`/srv/big` fills /dev/sda1: 93% (I guess 77%). Version 1.5", [call]) == [
        *("/srv/big", "/dev/sda1", "93%", "1.5")
    ]
    assert facts("All is well.", [call]) == ["All is well."]
    assert facts("", [call]) == []
    assert facts(f"First.\n{'x' * 300}", []) == ["First."]


def test_what_looks_like_a_credential_is_taken_out_everywhere() -> None:
    token, key = "glpat-" + "a1B2" * 6, "worker-key-of-the-shell"
    reading = RunReading("a", [{"event_type": "message", "data": {"role": "user", "content": f"use {token}"}}])
    definitions = [{"kind": "Agent", "name": "a", "spec": {"system_prompt": f"{key} postgres://u:hunter22@db/x"}}]
    made = document("n", {"entity_name": "a", "response": token}, reading, definitions, [], {}, [key])
    assert token not in str(made) and key not in str(made) and "hunter22" not in str(made)
    assert made["spec"]["prompts"] == ["use [redacted]"] and made["name"] == "n"


def test_a_definition_is_that_of_the_time_of_the_run() -> None:
    now = {"kind": "Agent", "name": "a", "spec": {"x": 3}}
    versions = [{"at": "2026-03", "spec": {"x": 3}}, {"at": "2026-01", "spec": {"x": 1}}]
    assert as_it_was(now, versions, "2026-02")["spec"] == {"x": 1}
    assert as_it_was(now, versions, "2026-04")["spec"] == {"x": 3}
    assert as_it_was(now, [], "2026-02")["spec"] == {"x": 3}
