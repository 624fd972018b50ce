"""This module reads what an execution has used of its budget out of its events. Pure.

The workflow counts exactly, and ends the run (docs/budgets.md). Here the same figures are told early: model calls,
tokens and cost of an execution with its members, and the seconds of its own work, as its events have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol.execution import Budgets, Usage
from kubiya_worker.protocol.names import RAISE_BUDGET

UNITS: Final = {"max_steps": "model calls", "max_tokens": "tokens", "max_cost_usd": "USD", "max_seconds": "s of work"}
READ: Final = (ev.MESSAGE, ev.MEMBER_MESSAGE_COMPLETE, ev.TOOL_STARTED, ev.TOOL_COMPLETED, ev.APPROVAL_RESOLVED)
NANO: Final = 1_000_000_000


@dataclass
class SpentBudget:
    """A sum of what an execution has used so far; it takes the events in their order."""

    last: int = 0  # the number of the last event
    raises: int = 0  # how often a person was asked to raise a limit, and answered
    _calls: dict[str, tuple[int, int]] = field(default_factory=dict)  # by message: (tokens, 1e-9 USD)
    _worked: float = 0.0  # seconds
    _tools: set[str] = field(default_factory=set)  # that run
    _since: float = 0.0  # when the first of them began

    def take(self, sequence: int, kind: str, at: str, data: Mapping[str, Any]) -> None:
        self.last = sequence
        own = data.get("source") != "team_member"
        if kind in (ev.MESSAGE, ev.MEMBER_MESSAGE_COMPLETE) and data.get("usage"):
            self._message(at, data, own)
        elif kind == ev.TOOL_STARTED and own:
            self._since = self._since if self._tools else _moment(at)
            self._tools.add(str(data.get("tool_execution_id")))
        elif kind == ev.TOOL_COMPLETED and own:
            running = bool(self._tools)
            self._tools.discard(str(data.get("tool_execution_id")))
            if running and not self._tools:
                self._worked += max(0.0, _moment(at) - self._since)
        elif kind == ev.APPROVAL_RESOLVED and data.get("tool_name") == RAISE_BUDGET:
            self.raises += 1

    def _message(self, at: str, data: Mapping[str, Any], own: bool) -> None:
        """Count a model call. One that was made again, because its worker was lost, counts once, as in the workflow."""
        key, usage = f"{data.get('member_execution_id') or ''}:{data.get('message_id')}", Usage.parse(data["usage"])
        began = str((data.get("step") or {}).get("started_at") or "")
        if own and began and key not in self._calls:
            self._worked += max(0.0, _moment(at) - _moment(began))
        self._calls[key] = (usage.total_tokens, usage.cost_nanos)

    def used(self, now: float) -> dict[str, float]:
        """Return what is used of each limit, by its name in `budgets`; `now` is in seconds since the epoch."""
        running = max(0.0, now - self._since) if self._tools else 0.0
        return {
            "max_steps": float(len(self._calls)),
            "max_tokens": float(sum(tokens for tokens, _ in self._calls.values())),
            "max_cost_usd": sum(nanos for _, nanos in self._calls.values()) / NANO,
            "max_seconds": self._worked + running,
        }


def percent(budgets: Budgets, used: Mapping[str, float]) -> dict[str, int]:
    """Return how much of each limit is used, in whole percent, rounded down."""
    limits = {name: getattr(budgets, name) for name in UNITS}
    return {name: int(100 * used[name] / limit) for name, limit in limits.items() if limit is not None}


def figure(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:,.4f}".rstrip("0")


def _moment(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
