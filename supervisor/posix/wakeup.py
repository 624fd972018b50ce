"""Turn signals into bytes in a pipe, so that a loop can wait for them: nothing happens inside a signal handler."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from types import FrameType


class WakeupPipe:
    """This pipe receives the numbers of signals, from the moment this object is made. Main thread only."""

    def __init__(self, signals: Iterable[int]) -> None:
        """Receive `signals`. Their handlers, and an earlier wake-up pipe, come back with `close`."""
        self.reader, self._writer = os.pipe()
        for descriptor in (self.reader, self._writer):
            os.set_blocking(descriptor, False)
        self._former = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, _ignore) for number in signals}

    def __enter__(self) -> WakeupPipe:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self.reader

    def arrived(self) -> list[int]:
        """Return the numbers of the signals since the last call, in order; 0 stands for a call of `wake`."""
        try:
            return list(os.read(self.reader, 4096))
        except BlockingIOError:
            return []

    def wake(self) -> None:
        """Make the pipe readable. Can be called from any thread."""
        try:
            os.write(self._writer, b"\0")
        except OSError:
            pass  # a full pipe is readable as well; or the pipe is closed

    def close(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._former)
        writer, self._writer = self._writer, -1
        os.close(self.reader)
        os.close(writer)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing: the interpreter writes the signal's number into the pipe."""
