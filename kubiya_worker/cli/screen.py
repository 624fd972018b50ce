"""Use the whole terminal: read keys as they are typed, follow the window's size, restore the terminal afterwards.

Signals arrive in a pipe and are handled between two drawings. Ctrl-Z restores the terminal until the job continues.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final

from kubiya_worker._supervisor.posix.wakeup import WakeupPipe

ENTER: Final = "\x1b[?1049h\x1b[?25l"  # the other screen, no cursor
LEAVE: Final = "\x1b[?25h\x1b[?1049l"
END: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HANDLED: Final = (*END, signal.SIGWINCH, signal.SIGTSTP)


class FullScreen:
    """The terminal's screen, in a `with` block. `ended` is the signal that asked for the end."""

    def __init__(self) -> None:
        self.end_signal: int | None = None
        self._in, self._out = sys.stdin.fileno(), sys.stdout.fileno()
        self._keys = os.isatty(self._in)
        self._saved: list[Any] | None = None

    def __enter__(self) -> FullScreen:
        self._wakeup = WakeupPipe(HANDLED)
        self._enter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._leave()
        self._wakeup.close()

    def wake(self) -> None:
        """Make `wait` return. Can be called from any thread."""
        self._wakeup.wake()

    def wait(self, seconds: float) -> str:
        """Return the text typed within `seconds`, or "". Returns sooner when a signal or `wake` arrives."""
        sources = [self._wakeup.reader, *([self._in] if self._keys else [])]
        ready, _, _ = select.select(sources, [], [], seconds)
        for number in self._wakeup.arrived():
            self._handle(number)
        if self._in not in ready:
            return ""
        typed = os.read(self._in, 1024)
        if not typed:
            self._keys = False  # the window is gone; SIGHUP says what to do
        return typed.decode(errors="replace")

    @property
    def size(self) -> tuple[int, int]:
        """Return columns and lines."""
        try:
            size = os.get_terminal_size(self._out)
        except OSError:
            return 80, 24
        return size.columns or 80, size.lines or 24

    def draw(self, lines: Sequence[str]) -> None:
        """Replace the picture without flicker. Raises OSError when the terminal is gone."""
        self._write("\x1b[H" + "\r\n".join(f"{line}\x1b[K" for line in lines) + "\x1b[J")

    def _handle(self, number: int) -> None:
        if number in END:
            self.end_signal = number
        elif number == signal.SIGTSTP:
            self._leave()
            handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)  # stops here until SIGCONT
            signal.signal(signal.SIGTSTP, handler)
            self._enter()

    def _enter(self) -> None:
        if self._keys:
            self._saved = termios.tcgetattr(self._in)
            tty.setcbreak(self._in)
        self._write(ENTER)

    def _leave(self) -> None:
        try:
            self._write(LEAVE)
            if self._saved is not None:
                termios.tcsetattr(self._in, termios.TCSADRAIN, self._saved)
        except (OSError, termios.error):
            pass  # the terminal is gone

    def _write(self, text: str) -> None:
        data = text.encode(sys.stdout.encoding or "utf-8", "plainly")
        while data:
            data = data[os.write(self._out, data) :]
