"""Budgets of an execution: which limit is reached, and what a person is then asked. This module does no I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from kubiya_worker.protocol import calls
from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol.execution import Budgets, Usage
from kubiya_worker.protocol.names import RAISE_BUDGET

NANO: Final = 1_000_000_000
WHAT: Final = {  # of one, of several
    "max_steps": ("model call", "model calls"),
    "max_tokens": ("token", "tokens"),
    "max_cost_usd": ("USD", "USD"),
    "max_seconds": ("second of work", "seconds of work"),
}


@dataclass(frozen=True)
class Reached:
    """A limit that is used up: its name in `budgets`, and that in words for the person."""

    name: str
    text: str


def reached(budgets: Budgets, *, steps: int, usage: Usage, seconds: float) -> Reached | None:
    """Return the limit that forbids a further model call; None when none does.

    `steps` is the number of model calls so far, `seconds` the time of work without the waits for people.
    """
    used = {
        "max_steps": float(steps),
        "max_tokens": float(usage.total_tokens),
        "max_cost_usd": usage.cost_nanos / NANO,
        "max_seconds": seconds,
    }
    for name, amount in used.items():
        limit = getattr(budgets, name)
        if limit is not None and amount >= limit:
            over = "" if amount == limit or name in ("max_steps", "max_seconds") else f" ({_figure(amount)} used)"
            text = f"The budget of {_figure(limit)} {WHAT[name][limit != 1]} is used up{over}."
            return Reached(name, f"{text} Raise budgets.{name} of the agent to go on.")
    return None


def _figure(number: float) -> str:
    return f"{number:.0f}" if number == int(number) else f"{number:.6f}".rstrip("0")


def proposal(budgets: Budgets, initial: Budgets, name: str) -> dict[str, Any]:
    """Return the raised limit that a person is asked to agree to: as much again as the agent had at first."""
    return {name: getattr(budgets, name) + getattr(initial, name)}


def question(arguments: dict[str, Any], why: Reached) -> calls.ApprovalRequest:
    hashed = m.arguments_hash(RAISE_BUDGET, arguments)
    return calls.ApprovalRequest(RAISE_BUDGET, arguments, hashed, risk_level="medium", reason=why.text)


def raised(budgets: Budgets, limits: dict[str, Any]) -> Budgets:
    """Return the budgets with the limits that a person has set. Unknown names and values not above 0 are ignored."""
    kinds = {"max_steps": int, "max_tokens": int, "max_cost_usd": float, "max_seconds": float}
    good: dict[str, Any] = {
        name: kinds[name](value)
        for name, value in limits.items()
        if name in kinds and isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    }
    return replace(budgets, **good)
