"""This module counts deliveries, so that nobody fills the database or the queue by sending fast."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW: Final = 60.0  # seconds
KEEP_EVERY: Final = 1.0  # seconds between two refused deliveries that are kept


class HookPace:
    """The pace of each hook, in memory: a restart may let a few more through."""

    def __init__(self) -> None:
        self._came: dict[str, deque[float]] = {}
        self._kept: dict[str, float] = {}

    def may_come(self, hook_id: str, now: float, most: int) -> bool:
        """Return whether one more delivery may come now, and count it."""
        came = self._came.setdefault(hook_id, deque())
        while came and came[0] <= now - WINDOW:
            came.popleft()
        if len(came) >= most:
            return False
        came.append(now)
        return True

    def may_keep(self, hook_id: str, now: float) -> bool:
        """Return whether a refused delivery is kept: at most one a second is."""
        if now - self._kept.get(hook_id, 0.0) < KEEP_EVERY:
            return False
        self._kept[hook_id] = now
        return True
