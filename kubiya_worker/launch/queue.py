"""A worker's queue, as the control plane knows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Queue:
    """A queue's id and name; empty where the control plane does not tell."""

    id: str = ""
    name: str = ""

    def other_than(self, named: str) -> str:
        """Return the queue's other name; "" when there is none."""
        return next((n for n in (self.id, self.name) if n and n != named), "")
