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
from types import FrameType, TracebackType
from typing import Any, Final

ENTER: Final = "\x1b[?1049h\x1b[?25l"  # the other screen, no cursor
LEAVE: Final = "\x1b[?25h\x1b[?1049l"
END: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TAKEN: Final = (*END, signal.SIGWINCH, signal.SIGTSTP)


class Screen:
    """The terminal's screen, in a `with` block. `ended` is the signal that asked for the end."""

    def __init__(self) -> None:
        self.ended: int | None = None
        self._in, self._out = sys.stdin.fileno(), sys.stdout.fileno()
        self._keys = os.isatty(self._in)
        self._before: dict[int, Any] = {}
        self._saved: list[Any] | None = None

    def __enter__(self) -> Screen:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, _heard) for number in TAKEN}
        self._take()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._give_back()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        writer, self._writer = self._writer, -1
        os.close(self._reader)
        os.close(writer)

    def wake(self) -> None:
        """Make `wait` return. Can be called from any thread."""
        try:
            os.write(self._writer, b"\0")
        except OSError:
            pass  # a full pipe wakes `wait` as well; or the screen is closed

    def wait(self, seconds: float) -> str:
        """Return the text typed within `seconds`, or "". Returns sooner when a signal or `wake` arrives."""
        sources = [self._reader, *([self._in] if self._keys else [])]
        ready, _, _ = select.select(sources, [], [], seconds)
        if self._reader in ready:
            for number in os.read(self._reader, 4096):
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
            found = os.get_terminal_size(self._out)
        except OSError:
            return 80, 24
        return found.columns or 80, found.lines or 24

    def draw(self, lines: Sequence[str]) -> None:
        """Replace the picture without flicker. Raises OSError when the terminal is gone."""
        self._write("\x1b[H" + "\r\n".join(f"{line}\x1b[K" for line in lines) + "\x1b[J")

    def _handle(self, number: int) -> None:
        if number in END:
            self.ended = number
        elif number == signal.SIGTSTP:
            self._give_back()
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)  # stops here until SIGCONT
            signal.signal(signal.SIGTSTP, _heard)
            self._take()

    def _take(self) -> None:
        if self._keys:
            self._saved = termios.tcgetattr(self._in)
            tty.setcbreak(self._in)
        self._write(ENTER)

    def _give_back(self) -> None:
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


def _heard(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the signal's number is read from the pipe."""
