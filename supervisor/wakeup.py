"""Signals as bytes in a pipe: nothing happens inside a signal handler."""

from __future__ import annotations

import os
import signal
from typing import Final

SIGNALS: Final = ("SIGCHLD", "SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2")


class Wakeup:
    """The pipe that receives signals as bytes, from the moment this object is made."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        for descriptor in (self.reader, self._writer):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for name in SIGNALS:
            signal.signal(getattr(signal, name), lambda *_: None)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def arrived(self) -> list[int]:
        """Return the numbers of the signals since the last call, in order."""
        try:
            return list(os.read(self.reader, 4096))
        except BlockingIOError:
            return []
