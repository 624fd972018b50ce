"""The terms of `agent_communication`. What an execution makes of them: tests/integration/team/test_communication.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol import team
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.agent_communication import Terms
from kubiya_worker.tools.toolset import build_toolset

SOMEBODY = {"allowed_agents": "*", "allowed_teams": ["triage"]}


def specs(tmp_path: Path, **terms: Any) -> dict[str, ToolSpec]:
    skill = {"name": "others", "type": "agent_communication", "configuration": terms}
    return {spec.name: spec for spec in build_toolset([skill], workspace=tmp_path).specs}


@pytest.mark.parametrize(
    ("terms", "tools"),
    [
        ({"allowed_agents": "*"}, ["execute_agent"]),
        ({"allowed_teams": ["triage"]}, ["execute_team"]),
        (SOMEBODY, ["execute_agent", "execute_team"]),
        ({**SOMEBODY, "allowed_operations": ["execute_team", "get_execution_status"]}, ["execute_team"]),
        (
            {**SOMEBODY, "wait_for_completion": False},
            ["execute_agent", "execute_team", "followup_execution", "get_execution_status"],
        ),
        (
            {"allowed_agents": "a, b", "wait_for_completion": False, "allow_session_continuation": False},
            ["execute_agent", "get_execution_status"],
        ),
    ],
)
def test_the_terms_say_which_tools_there_are(terms: dict[str, Any], tools: list[str], tmp_path: Path) -> None:
    assert list(specs(tmp_path, **terms)) == tools


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({**SOMEBODY, "allowed_operations": ["call_agent"]}, "'call_agent' is none of them"),
        ({**SOMEBODY, "max_execution_depth": 1.5}, "a whole number from 0 to 10"),
        ({**SOMEBODY, "max_execution_depth": 11}, "from 0 to 10"),
        ({**SOMEBODY, "timeout": 5}, "from 30 to 3600"),
        ({**SOMEBODY, "max_concurrent_calls": 0}, "from 1 to 100"),
        ({**SOMEBODY, "streaming_enabled": "yes"}, "true or false"),
        ({**SOMEBODY, "wait_for_complete": True}, "Did you mean `wait_for_completion`"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(terms: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        specs(tmp_path, **terms)
    assert message in caught.value.line() and "'others'" in caught.value.line()


def test_a_child_may_be_asked_again_and_an_execution_of_its_own_may_not(tmp_path: Path) -> None:
    waited = specs(tmp_path, **SOMEBODY)["execute_agent"]
    assert (waited.idempotent, waited.effects, waited.category) == (True, (), "delegation")
    loose = specs(tmp_path, **SOMEBODY, wait_for_completion=False)
    assert (loose["execute_agent"].idempotent, loose["execute_agent"].effects) == (False, ("exec",))
    assert (loose["get_execution_status"].idempotent, loose["get_execution_status"].taints) == (True, True)


@pytest.mark.parametrize(
    ("allowed", "agent", "may"),
    [
        (("*",), {"id": "1", "name": "any"}, True),
        (("ops",), {"id": "1", "name": "Ops"}, True),
        (("ops-*",), {"id": "1", "name": "ops-eu"}, True),
        (("ops-*",), {"id": "1", "name": "dev-eu"}, False),
        (("1",), {"id": "1", "name": "any"}, True),
        (("ops",), {"id": "1", "name": "ops2"}, False),
        ((), {"id": "1", "name": "any"}, False),
    ],
)
def test_who_may_be_asked(allowed: tuple[str, ...], agent: dict[str, Any], may: bool) -> None:
    assert Terms("s", agents=allowed).allows("agent", agent) is may
    assert Terms("s", teams=allowed).allows("agent", agent) is False


@pytest.mark.parametrize(
    ("metadata", "depth"),
    [({}, 0), ({"execution_depth": 2}, 2), ({"execution_depth": "2"}, 0), ({"execution_depth": -1}, 0)],
)
def test_the_depth_of_an_execution(metadata: dict[str, Any], depth: int) -> None:
    assert team.depth_of(metadata) == depth


def test_a_request_that_is_passed_on_is_cut() -> None:
    assert team.within("do it", "") == "do it"
    passed = team.within("do it", "x" * 20_000)
    assert passed.startswith("do it\n\nThe request that this is part of:\nxxx") and len(passed) < 8_100
