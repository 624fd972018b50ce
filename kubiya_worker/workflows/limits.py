"""Tell which limit of a budget is reached, and what a person is then asked. This module does no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.protocol import calls
from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol.execution import Budgets, Usage
from kubiya_worker.protocol.names import RAISE_BUDGET

NANO: Final = 1_000_000_000


@dataclass(frozen=True)
class LimitKind:
    """A kind of limit: its unit in words."""

    unit: str
    units: str


KINDS: Final = {  # by the limit's name in `budgets`
    "max_steps": LimitKind("model call", "model calls"),
    "max_tokens": LimitKind("token", "tokens"),
    "max_cost_usd": LimitKind("USD", "USD"),
    "max_seconds": LimitKind("second of work", "seconds of work"),
}


@dataclass(frozen=True)
class ReachedLimit:
    """A limit that is used up: its name in `budgets`, and that in words for the person."""

    name: str
    text: str


def reached(budgets: Budgets, *, steps: int, usage: Usage, seconds: float) -> ReachedLimit | None:
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
            unit = KINDS[name].unit if limit == 1 else KINDS[name].units
            text = f"The budget of {_figure(limit)} {unit} is used up{over}."
            return ReachedLimit(name, f"{text} Raise budgets.{name} of the agent to go on.")
    return None


def _figure(number: float) -> str:
    return f"{number:.0f}" if number == int(number) else f"{number:.6f}".rstrip("0")


def proposal(budgets: Budgets, initial: Budgets, name: str) -> dict[str, Any]:
    """Return the raised limit that a person is asked to agree to: as much again as the agent had at first."""
    return {name: getattr(budgets, name) + getattr(initial, name)}


def question(arguments: dict[str, Any], why: ReachedLimit) -> calls.ApprovalRequest:
    """Return the request for a person's approval of a raised limit."""
    hashed = m.arguments_hash(RAISE_BUDGET, arguments)
    return calls.ApprovalRequest(RAISE_BUDGET, arguments, hashed, risk_level="medium", reason=why.text)
