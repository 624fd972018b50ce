"""Keep the deadlines of a loop by name. A name has at most one deadline: setting it again moves it."""

from __future__ import annotations

from collections.abc import Callable


class Timers:
    def __init__(self, clock: Callable[[], float]) -> None:
        """Make an empty set. `clock` returns seconds and never goes back."""
        self._clock = clock
        self._deadlines: dict[str, tuple[float, Callable[[], None]]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._deadlines

    def set(self, name: str, delay: float, action: Callable[[], None]) -> None:
        self._deadlines[name] = (self._clock() + delay, action)

    def drop(self, *names: str) -> None:
        for name in names:
            self._deadlines.pop(name, None)

    def patience(self) -> float | None:
        """Return the seconds until the next deadline; None when there is none."""
        if not self._deadlines:
            return None
        return max(0.0, min(at for at, _ in self._deadlines.values()) - self._clock())

    def run(self) -> None:
        """Run each action that is due, once. An action may set and drop others that are due as well."""
        now = self._clock()
        for name, (at, action) in list(self._deadlines.items()):
            if at <= now and self._deadlines.get(name) == (at, action):
                del self._deadlines[name]
                action()
