"""The intent: what people have asked of the supervisor, until the child's run has ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RESTART: Final = "restart"
DRAIN: Final = "drain"
STOP: Final = "stop"
FORCE_AFTER: Final = 1.0  # seconds: a second signal sooner than that is a repeat, not an order to force


def watches(kind: str) -> bool:
    """Return whether silence still counts as a hang.

    A draining child may run for hours and can hang meanwhile. A stopping child has its own deadline.
    """
    return kind in ("", DRAIN)


@dataclass
class Intent:
    """Keep what is asked for now: RESTART, DRAIN, STOP, or nothing (an empty text)."""

    kind: str = ""
    stop_asked_at: float = 0.0  # seconds on the loop's clock

    def __bool__(self) -> bool:
        return bool(self.kind)

    def watches(self) -> bool:
        return watches(self.kind)

    def stop(self, now: float) -> str:
        """Ask for a stop. Return what was asked for before."""
        before, self.kind, self.stop_asked_at = self.kind, STOP, now
        return before

    def forces(self, now: float) -> bool:
        """Return whether one more signal at `now` forces a stop that was asked for before."""
        return now - self.stop_asked_at > FORCE_AFTER
