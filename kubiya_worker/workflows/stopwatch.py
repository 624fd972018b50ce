"""This module counts the time that work took, without the times in which it had to wait for people. No I/O."""

from __future__ import annotations


class Stopwatch:
    """The stopwatch counts seconds of work: the time since `began` without the times in which the work had to wait."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._reasons: set[str] = set()
        self._since = 0.0
        self._waited = 0.0

    def wait(self, reason: str, now: float) -> None:
        if not self._reasons:
            self._since = now
        self._reasons.add(reason)

    def go_on(self, reason: str, now: float) -> None:
        waiting = bool(self._reasons)
        self._reasons.discard(reason)
        if waiting and not self._reasons:
            self._waited += now - self._since

    @property
    def waiting(self) -> bool:
        return bool(self._reasons)

    def waited(self, now: float) -> float:
        return self._waited + (now - self._since if self._reasons else 0.0)

    def worked(self, now: float) -> float:
        return now - self._began - self.waited(now)
