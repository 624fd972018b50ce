"""Budgets: what is used up, and what is said about it."""

from __future__ import annotations

import pytest

from kubiya_worker.protocol.execution import Budgets, Usage
from kubiya_worker.workflows.budget import exceeded


@pytest.mark.parametrize(
    ("budgets", "names"),
    [
        (Budgets(max_steps=3), "max_steps"),
        (Budgets(max_tokens=100), "max_tokens"),
        (Budgets(max_seconds=9.0), "max_seconds"),
    ],
)
def test_a_used_up_budget_names_the_setting_to_raise(budgets: Budgets, names: str) -> None:
    text = exceeded(budgets, steps=3, usage=Usage(60, 40), seconds=9.0)
    assert text is not None and names in text


def test_what_is_left_is_left() -> None:
    budgets = Budgets(max_steps=3, max_tokens=100, max_seconds=9.0)
    assert exceeded(budgets, steps=2, usage=Usage(60, 39), seconds=8.9) is None


def test_budgets_come_from_the_agents_configuration() -> None:
    assert Budgets.parse({"max_turns": 7}).max_steps == 7
    assert Budgets.parse({"max_turns": 7, "budgets": {"max_steps": 2, "max_tokens": 5}}) == Budgets(2, 5, None)
    assert Budgets.parse({}).max_steps == Budgets.max_steps
