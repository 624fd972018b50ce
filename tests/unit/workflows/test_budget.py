"""Budgets: what is used up, and what is said about it."""

from __future__ import annotations

import pytest

from kubiya_worker.protocol.execution import Budgets, Usage
from kubiya_worker.workflows.budget import proposal, raised, reached


@pytest.mark.parametrize(
    ("budgets", "names"),
    [
        (Budgets(max_steps=3), "max_steps"),
        (Budgets(max_tokens=100), "max_tokens"),
        (Budgets(max_seconds=9.0), "max_seconds"),
        (Budgets(max_cost_usd=0.5), "max_cost_usd"),
    ],
)
def test_a_used_up_budget_names_the_setting_to_raise(budgets: Budgets, names: str) -> None:
    limit = reached(budgets, steps=3, usage=Usage(60, 40, cost_nanos=500_000_000), seconds=9.0)
    assert limit is not None and limit.name == names and f"budgets.{names}" in limit.text


def test_what_is_left_is_left() -> None:
    budgets = Budgets(max_steps=3, max_tokens=100, max_seconds=9.0, max_cost_usd=0.5)
    assert reached(budgets, steps=2, usage=Usage(60, 39, cost_nanos=499_999_999), seconds=8.9) is None


def test_a_person_is_asked_for_as_much_again_as_there_was_at_first() -> None:
    first = Budgets(max_steps=3, max_cost_usd=0.5)
    assert proposal(first, first, "max_steps") == {"max_steps": 6}
    assert proposal(raised(first, {"max_steps": 6}), first, "max_steps") == {"max_steps": 9}


def test_only_limits_can_be_raised_and_only_by_numbers() -> None:
    budgets = Budgets()
    assert raised(budgets, {"max_steps": 7, "max_cost_usd": 2}) == Budgets(max_steps=7, max_cost_usd=2.0)
    nonsense = {"max_steps": "many", "max_tokens": -1, "max_seconds": True, "max_depth": 9, "on_limit": "ask"}
    assert raised(budgets, nonsense) == budgets


def test_budgets_come_from_the_agents_configuration() -> None:
    assert Budgets.parse({"max_turns": 7}).max_steps == 7
    assert Budgets.parse({"max_turns": 7, "budgets": {"max_steps": 2, "max_tokens": 5}}) == Budgets(2, 5, None)
    assert Budgets.parse({}).max_steps == Budgets.max_steps
