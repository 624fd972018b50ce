"""This module says when a failed delivery is tried again, and when it is dead. Pure."""

from __future__ import annotations

from typing import Final

# Seconds from one try to the next: about 16 hours in all, so that a channel may be down for a night.
DELAYS: Final = (5, 15, 60, 300, 900, 1800, 3600, 7200, 14_400, 28_800)
ATTEMPTS: Final = len(DELAYS) + 1
SPREAD: Final = 0.1  # of a delay, so that channels that failed together do not all come back at once
LONGEST_WISH: Final = 3_600.0  # seconds: a channel that asks for more is asked again earlier


def is_last(attempts: int) -> bool:
    """Return whether there is no further try after so many."""
    return attempts >= ATTEMPTS


def delay(attempts: int, chance: float, wished: float | None = None) -> float:
    """Return the seconds until the next try after so many; `chance` is 0 to 1, `wished` what the channel asked for."""
    usual = DELAYS[min(max(attempts, 1), len(DELAYS)) - 1] * (1 + SPREAD * (2 * chance - 1))
    return max(usual, min(wished or 0.0, LONGEST_WISH))
