"""Policy rules decide about a call by scope, priority and strictness; grants fit exact arguments only."""

from typing import Any

import pytest

from kubiya_worker.protocol.messages import arguments_hash
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.policy.rules import Decision, decide

SHELL = ToolSpec("shell", "", risk="high", category="command_execution")
READ = ToolSpec("read_file", "", risk="low", category="file_operation")
ARGUMENTS = {"command": "ls -la"}


def rule(**fields: Any) -> dict[str, Any]:
    return {"id": "r1", "name": "guard", "scope_type": "all", "enabled": True, "priority": 1, **fields}


def test_without_rules_every_call_is_allowed() -> None:
    assert decide(SHELL, ARGUMENTS, []).kind == "allow"


@pytest.mark.parametrize(
    ("fields", "spec", "kind"),
    [
        ({}, SHELL, "ask"),
        ({"enabled": False}, SHELL, "allow"),
        ({"scope_type": "tool", "scope_value": "shell"}, SHELL, "ask"),
        ({"scope_type": "tool", "scope_value": "Shell "}, SHELL, "ask"),
        ({"scope_type": "tool", "scope_value": "shell"}, READ, "allow"),
        ({"scope_type": "tool", "scope_value": "*_file"}, READ, "ask"),
        ({"scope_type": "tool", "scope_value": "shell"}, ToolSpec("ops_shell", ""), "ask"),
        ({"scope_type": "category", "scope_value": "command_execution"}, SHELL, "ask"),
        ({"scope_type": "category", "scope_value": "network"}, SHELL, "allow"),
        ({"scope_type": "risk_level", "scope_value": "medium"}, SHELL, "ask"),
        ({"scope_type": "risk_level", "scope_value": "high"}, SHELL, "ask"),
        ({"scope_type": "risk_level", "scope_value": "critical"}, SHELL, "allow"),
        ({"scope_type": "risk_level", "scope_value": "critical"}, ToolSpec("x", "", risk="odd"), "ask"),
        ({"action": "deny"}, SHELL, "deny"),
        ({"argument_pattern": '"ls '}, SHELL, "ask"),
        ({"argument_pattern": r"\brm\b"}, SHELL, "allow"),
    ],
)
def test_a_rule_holds_for_its_scope(fields: dict[str, Any], spec: ToolSpec, kind: str) -> None:
    assert decide(spec, ARGUMENTS, [rule(**fields)]).kind == kind


@pytest.mark.parametrize(
    "broken",
    [
        "text",
        None,
        rule(scope_type="unknown"),
        rule(scope_type=None),
        {},
        rule(scope_type="tool"),
        rule(scope_type="risk_level", scope_value="enormous"),
        rule(enabled="false"),
        rule(enabled=0),
        rule(priority="high"),
        rule(priority=float("nan")),
        rule(action="alow"),
        rule(argument_pattern="("),
        rule(argument_pattern=5),
        rule(argument_pattern=r"(a)\1"),
        rule(scope_type="unknown", action="allow"),
    ],
)
def test_a_rule_that_cannot_be_understood_asks_for_everything(broken: Any) -> None:
    assert decide(READ, {}, [broken]).kind == "ask"
    assert decide(READ, {}, [broken, rule(action="allow", priority=100)]).kind == "ask"
    assert decide(READ, {}, [broken, rule(action="deny", priority=-1)]).kind == "deny"


def test_the_highest_priority_decides_and_of_equal_ones_the_strictest() -> None:
    ask, allow, deny = rule(id="a", priority=5), rule(id="b", action="allow", priority=9), rule(id="c", action="deny")
    assert decide(SHELL, {}, [ask, allow]).kind == "allow"
    assert decide(SHELL, {}, [ask, deny]).rule_id == "a"
    assert decide(SHELL, {}, [{**ask, "priority": 9}, allow, {**deny, "priority": 9}]).kind == "deny"


def test_an_allowing_rule_never_reaches_further_than_it_says() -> None:
    allow = rule(action="allow", priority=9)
    for fields in (
        {"scope_type": "tool", "scope_value": "shell"},
        {"scope_type": "risk_level", "scope_value": "low"},
    ):
        spec = ToolSpec("ops_shell", "", risk="high")
        assert decide(spec, {}, [{**allow, **fields}, rule()]).kind == "ask"
    assert decide(READ, {}, [{**allow, "scope_type": "risk_level", "scope_value": "medium"}, rule()]).kind == "allow"


def test_an_ask_says_whom_and_for_how_long() -> None:
    decision = decide(
        SHELL,
        ARGUMENTS,
        [rule(timeout_minutes=5, require_reason=True, approver_type="user_emails", approver_value=["a@example.com"])],
    )
    assert (decision.kind, decision.rule_id, decision.risk) == ("ask", "r1", "high")
    assert (decision.timeout_minutes, decision.require_reason) == (5, True)
    assert (decision.approver_type, decision.approver_value) == ("user_emails", ["a@example.com"])
    assert decide(SHELL, {}, [rule(timeout_minutes=10**9)]).timeout_minutes == 1440


def test_a_grant_holds_for_the_very_arguments_it_was_given_for() -> None:
    grant = {"approval_id": "p1", "arguments_hash": arguments_hash("shell", ARGUMENTS)}
    assert decide(SHELL, ARGUMENTS, [rule()], grant).kind == "allow"
    assert decide(SHELL, {"command": "ls -la "}, [rule()], grant).kind == "ask"
    assert decide(ToolSpec("other", ""), ARGUMENTS, [rule()], grant).kind == "ask"
    assert decide(SHELL, ARGUMENTS, [rule()], {**grant, "approval_id": ""}).kind == "ask"
    assert decide(SHELL, ARGUMENTS, [rule()], {}).kind == "ask"


def test_a_grant_does_not_overcome_a_denial() -> None:
    grant = {"approval_id": "p1", "arguments_hash": arguments_hash("shell", ARGUMENTS)}
    assert decide(SHELL, ARGUMENTS, [rule(action="deny")], grant).kind == "deny"


WRITER = ToolSpec("write_file", "", effects=("write",))


@pytest.mark.parametrize(
    ("spec", "rules", "tainted", "kind"),
    [
        (WRITER, [], ("write",), "ask"),
        (WRITER, [], (), "allow"),
        (WRITER, [rule(action="allow")], ("write",), "ask"),
        (WRITER, [rule(action="deny")], ("write",), "deny"),
    ],
)
def test_what_others_wrote_makes_tools_with_effects_ask(
    spec: ToolSpec, rules: list[Any], tainted: tuple[str, ...], kind: str
) -> None:
    assert decide(spec, ARGUMENTS, rules, tainted=tainted).kind == kind


def test_a_tainted_call_runs_with_a_grant_for_its_arguments_only() -> None:
    grant = {"approval_id": "a1", "arguments_hash": arguments_hash("write_file", ARGUMENTS)}
    assert decide(WRITER, ARGUMENTS, [], grant, tainted=("write",)).kind == "allow"
    assert decide(WRITER, {"command": "other"}, [], grant, tainted=("write",)).kind == "ask"


@pytest.mark.parametrize(
    ("here", "there", "kind"),
    [
        ("allow", "allow", "allow"),
        ("allow", "ask", "ask"),
        ("allow", "deny", "deny"),
        ("ask", "allow", "ask"),
        ("ask", "ask", "ask"),
        ("ask", "deny", "deny"),
        ("deny", "allow", "deny"),
    ],
)
def test_of_several_judges_the_strictest_word_counts(here: str, there: Any, kind: str) -> None:
    grant = {"approval_id": "p1", "arguments_hash": arguments_hash("shell", ARGUMENTS)}
    other = [Decision(there, "says the other")]
    assert decide(SHELL, ARGUMENTS, [rule(action=here)], others=other).kind == kind
    granted = decide(SHELL, ARGUMENTS, [rule(action=here)], grant, others=other).kind
    assert granted == ("allow" if kind == "ask" else kind)


def test_a_rule_knows_when_another_judge_asks_too() -> None:
    """Else its `auto_approve_roles` would also answer for taint, the host's rules, or a policy service."""
    asking, another = [rule(id="r-1")], Decision("ask", "the host's rule asks")
    alone = decide(SHELL, {}, asking)
    assert alone.rule_id == "r-1" and not alone.several
    for both in (decide(SHELL, {}, asking, others=[another]), decide(SHELL, {}, asking, tainted=["exec"])):
        assert (both.kind, both.rule_id, both.several) == ("ask", "r-1", True)
