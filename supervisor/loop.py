"""The loop waits for sources of events and for timers, and calls what belongs to each."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from typing import Protocol, TypeAlias

from .timers import Timers


class HasFileno(Protocol):
    """An object with a descriptor, such as a socket."""

    def fileno(self) -> int: ...


class Rebindable(HasFileno, Protocol):
    """A bound socket that can be bound again when somebody has removed its file."""

    def bind_again(self) -> bool: ...


Source: TypeAlias = int | HasFileno


class Loop:
    """The sources and timers of one supervisor. `clock` returns seconds and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.timers = Timers(clock)
        self._selector = selectors.DefaultSelector()

    def watch(self, source: Source, on_event: Callable[[], object]) -> None:
        """Call `on_event` whenever the source can be read."""
        self._selector.register(source, selectors.EVENT_READ, on_event)

    def ignore(self, source: Source) -> None:
        """Stop watching a source, if it is watched."""
        if source in self._selector.get_map():
            self._selector.unregister(source)

    def bind_again(self, source: Rebindable) -> bool:
        """Bind a watched socket again. Return whether that worked."""
        on_event = self._selector.unregister(source).data  # by its descriptor, which is another one afterwards
        bound = source.bind_again()
        self.watch(source, on_event)
        return bound

    def turn(self) -> None:
        """Wait for the next event or timer, and call what belongs to it."""
        for key, _ in self._selector.select(self.timers.patience()):
            key.data()
        self.timers.run()
