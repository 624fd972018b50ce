"""Configuration of teams, names of their tools, whom a message is for, and events of members."""

from __future__ import annotations

import pytest

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import team
from kubiya_worker.protocol.execution import ExecutionInput


def test_instructions_may_be_a_list_and_members_count_once() -> None:
    config = team.TeamConfig.parse({"instructions": ["a", "b"], "member_ids": ["1", "2", "1"], "mode": "Route"})
    assert (config.instructions, config.member_ids, config.mode) == ("a\nb", ("1", "2"), team.ROUTE)


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ({"mode": "anarchy"}, "mode"),
        ({"member_ids": "abc"}, "member_ids"),
        ({"member_queues": ["q"]}, "member_queues"),
        ({"member_timeout": "soon"}, "member_timeout"),
        ({"member_timeout": -1}, "member_timeout"),
        ({"llm": "gpt"}, "llm"),
    ],
)
def test_what_is_wrong_is_named(raw: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        team.TeamConfig.parse(raw)


def test_tool_names_fit_providers_and_differ() -> None:
    names = team.tool_names(["Log reader", "log-reader!", "Log_Reader", "x" * 200, "日本"])
    assert names[:3] == ["ask_log_reader", "ask_log-reader", "ask_log_reader_2"]
    assert all(len(name) <= 64 and name.replace("-", "").replace("_", "").isascii() for name in names)
    assert names[4] == "ask_member"


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ("@logs look again", None, ("logs", "look again")),
        ("@Logs: look again", None, ("logs", "look again")),
        ("look again", "logs", ("logs", "look again")),
        ("@nobody look", None, (None, "@nobody look")),
        ("tell @logs that", None, (None, "tell @logs that")),
        ("@logs", None, (None, "@logs")),
        ("look", "nobody", (None, "look")),
    ],
)
def test_whom_a_message_is_for(text: str, field: str | None, expected: tuple[str | None, str]) -> None:
    assert team.addressed(text, ["logs", "disk"], field) == expected


def test_an_event_of_a_member_says_whose_it_is_and_its_ids_are_its_own() -> None:
    event = ev.event("tool_started:c1", ev.TOOL_STARTED, {"tool_execution_id": "c1", "source": "agent"}, "t")
    shown = ev.of_member(event, "e1.1", {"member_name": "logs"})
    assert shown == {
        "event_id": "e1.1:tool_started:c1",
        "event_type": "member_tool_started",
        "data": {
            "tool_execution_id": "e1.1:c1",
            "source": "team_member",
            "member_name": "logs",
            "member_execution_id": "e1.1",
        },
        "timestamp": "t",
    }


def test_a_teams_input_may_call_its_configuration_config() -> None:
    raw = {"execution_id": "e", "team_id": "t", "prompt": "p", "config": {"mode": "route"}, "agent_config": None}
    given = ExecutionInput.parse(raw)
    assert (given.kind, given.agent_id, given.agent_config) == ("team", "t", {"mode": "route"})


def test_an_input_without_a_team_or_an_agent_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="agent_id"):
        ExecutionInput.parse({"execution_id": "e", "prompt": "p"})
