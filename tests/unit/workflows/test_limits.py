"""Budgets: what is used up, and what is said about it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from kubiya_worker.protocol.execution import Budgets, Usage
from kubiya_worker.workflows.limits import proposal, reached


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
    assert proposal(first.raised({"max_steps": 6}), first, "max_steps") == {"max_steps": 9}


def test_only_limits_can_be_raised_and_only_by_numbers() -> None:
    budgets = Budgets()
    assert budgets.raised({"max_steps": 7, "max_cost_usd": 2}) == Budgets(max_steps=7, max_cost_usd=2.0)
    nonsense = {"max_steps": "many", "max_tokens": -1, "max_seconds": True, "max_depth": 9, "on_limit": "ask"}
    assert budgets.raised(nonsense) == budgets


def test_a_budget_of_one_is_said_in_the_singular() -> None:
    limit = reached(Budgets(max_steps=1), steps=1, usage=Usage(), seconds=0.0)
    assert limit is not None and limit.text.startswith("The budget of 1 model call is used up.")
    limit = reached(Budgets(max_seconds=1.5), steps=1, usage=Usage(), seconds=2.0)
    assert limit is not None and limit.text.startswith("The budget of 1.5 seconds of work is used up.")


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ({"budgets": "lots"}, "budgets is an object"),
        ({"budgets": []}, "budgets is an object"),
        ({"budgets": {"max_stepz": 1}}, "budgets has no 'max_stepz'; it has max_steps"),
        ({"budgets": {"max_steps": 0}}, "budgets.max_steps is a whole number above 0, not 0"),
        ({"budgets": {"max_tokens": -5}}, "budgets.max_tokens is a whole number above 0, not -5"),
        ({"budgets": {"max_depth": 1.5}}, "budgets.max_depth is a whole number above 0, not 1.5"),
        ({"budgets": {"max_cost_usd": 0}}, "budgets.max_cost_usd is a number above 0, not 0"),
        ({"budgets": {"max_seconds": True}}, "budgets.max_seconds is a number above 0, not True"),
        ({"budgets": {"max_steps": "abc"}}, "budgets.max_steps is a whole number above 0, not 'abc'"),
        ({"budgets": {"max_steps": [1]}}, "budgets.max_steps is a whole number above 0, not [1]"),
        ({"budgets": {"max_cost_usd": 10**400}}, "budgets.max_cost_usd is a number above 0"),
        ({"budgets": {"on_limit": "stop"}}, "budgets.on_limit is end or ask, not 'stop'"),
        ({"max_turns": -1}, "max_turns is a whole number above 0, not -1"),
    ],
)
def test_a_limit_that_cannot_be_read_is_refused_and_never_passed_over(configuration: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Budgets.parse(configuration)
    Budgets.carried(configuration)  # workflow code reads a history from before, whatever it says


def test_budgets_come_from_the_agents_configuration() -> None:
    assert Budgets.parse({"max_turns": 7}).max_steps == 7
    assert Budgets.parse({"max_turns": 7, "budgets": {"max_steps": 2, "max_tokens": 5}}) == Budgets(2, 5, None)
    assert Budgets.parse({}).max_steps == Budgets.max_steps
    assert Budgets.parse({"budgets": None, "max_turns": None}) == Budgets()
    assert Budgets.parse({"budgets": {"max_steps": "40", "max_seconds": 1.5, "max_tokens": None}}) == Budgets(
        40, None, 1.5
    )
