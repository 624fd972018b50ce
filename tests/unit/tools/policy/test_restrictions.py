"""These tests read the lists of tools of a configuration, and ask the policy about calls."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.policy import restrictions, rules


def spec(name: str) -> ToolSpec:
    return ToolSpec(name=name, description="", parameters={}, category="command_execution")


def runs(config: dict[str, Any], name: str, *more: dict[str, Any]) -> bool:
    denials = restrictions.rules_of(config)
    decided = rules.decide(spec(name), {"command": "ls"}, [*more, *denials]).kind
    assert restrictions.permits(denials, spec(name)) == (decided != "deny"), "what is denied is not offered"
    return decided == "allow"


@pytest.mark.parametrize(
    ("config", "name", "expected"),
    [
        ({}, "shell", True),
        ({"allowed_tools": [], "disallowed_tools": None}, "shell", True),
        ({"disallowed_tools": ["shell"]}, "shell", False),
        ({"disallowed_tools": ["shell"]}, "ops_shell", False),  # a second skill of the same type
        ({"disallowed_tools": ["SHELL"]}, "shell", False),
        ({"disallowed_tools": ["shell"]}, "read_file", True),
        ({"disallowed_tools": ["tickets_*"]}, "tickets_close", False),
        ({"allowed_tools": ["read_file", "tickets_*"]}, "read_file", True),
        ({"allowed_tools": ["read_file", "tickets_*"]}, "tickets_close", True),
        ({"allowed_tools": ["read_file", "tickets_*"]}, "shell", False),
        ({"allowed_tools": ["shell"]}, "ops_shell", False),
        ({"allowed_tools": ["shell", "read_file"], "disallowed_tools": ["shell"]}, "shell", False),
        ({"permission_mode": "bypassPermissions"}, "shell", True),
    ],
)
def test_the_lists_say_what_may_run(config: dict[str, Any], name: str, expected: bool) -> None:
    assert runs(config, name) is expected


def test_no_rule_lifts_a_restriction_and_none_is_lifted_by_it() -> None:
    allow = {"name": "a", "scope_type": "all", "action": "allow", "priority": 1000}
    assert not runs({"disallowed_tools": ["shell"]}, "shell", allow)
    deny = {"name": "d", "scope_type": "tool", "scope_value": "shell", "action": "deny", "priority": 1}
    denials = restrictions.rules_of({"allowed_tools": ["shell"]})
    assert rules.decide(spec("shell"), {}, [deny, *denials]).kind == "deny"


def test_two_who_ask_want_a_reason_if_one_of_them_does() -> None:
    careful, other = (rules.Decision("ask", word, require_reason=word == "a") for word in "ab")
    assert rules.stricter(other, careful).require_reason and rules.stricter(careful, other).require_reason


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"permission_mode": "plan"}, "permission_mode 'plan' is a restriction that this worker does not know"),
        ({"disallowed_tools": ["Bash"]}, "disallowed_tools names 'Bash', which is no tool of this worker"),
        ({"allowed_tools": ["Bash(git log:*)"]}, "allowed_tools names 'Bash(git log:*)'"),
        ({"allowed_tools": ["shell(ls)"]}, "allowed_tools names 'shell(ls)'"),
        ({"disallowed_tools": "shell"}, "disallowed_tools is a list of names of tools, not 'shell'"),
        ({"allowed_tools": ["  "]}, "allowed_tools is a list of names of tools"),
    ],
)
def test_a_restriction_that_is_not_known_is_named(config: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        restrictions.rules_of(config)
    assert str(error.value).startswith(named) and error.value.remedy
