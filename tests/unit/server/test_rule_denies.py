"""A new deny rule ends a waiting request only when it certainly decides the call."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.server.api.rules import denies


def rule(**fields: Any) -> dict[str, Any]:
    given = {"action": "deny", "scope_type": "tool", "scope_value": "shell", "priority": 5, "enabled": True}
    return {**given, **fields}


@pytest.mark.parametrize(
    ("new", "others", "denied"),
    [
        pytest.param(rule(), [], True, id="by name"),
        pytest.param(rule(scope_value="sh*"), [], True, id="by pattern of names"),
        pytest.param(rule(scope_type="all", scope_value=None), [], True, id="all tools"),
        pytest.param(rule(scope_type="risk_level", scope_value="medium"), [], True, id="a lower risk"),
        pytest.param(rule(scope_type="risk_level", scope_value="critical"), [], False, id="a higher risk"),
        pytest.param(rule(scope_value="http"), [], False, id="another tool"),
        pytest.param(rule(action="ask"), [], False, id="it asks"),
        pytest.param(rule(enabled=False), [], False, id="switched off"),
        pytest.param(rule(argument_pattern="rm"), [], False, id="it depends on the arguments"),
        pytest.param(rule(), [rule(action="allow", priority=5)], True, id="an equal one allows"),
        pytest.param(rule(), [rule(action="allow", priority=9)], False, id="a stronger one allows"),
        pytest.param(rule(), [rule(action="allow", priority=9, enabled=False)], True, id="a stronger one is off"),
        pytest.param(rule(), [rule(action="ask", priority=9, scope_value="http")], True, id="a stronger other tool"),
        pytest.param(rule(), [rule(action="ask", priority=9, scope_type="category")], False, id="a stronger category"),
        pytest.param(rule(), [rule(action="ask", priority=9, argument_pattern="x")], False, id="a stronger that may"),
    ],
)
def test_a_rule_denies_a_waiting_call(new: dict[str, Any], others: list[dict[str, Any]], denied: bool) -> None:
    assert denies(new, [new, *others], "shell", "high") is denied
