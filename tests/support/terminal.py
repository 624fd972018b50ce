"""A terminal: a pseudo terminal that is the controlling one of a process, what it was sent, and keys."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

CONTROL_C, CONTROL_D = "\x03", "\x04"


def _take() -> None:
    """Make descriptor 0 the controlling terminal. Runs in the child."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    def __init__(self, argv: list[str], env: Mapping[str, str], cwd: Path, *, columns: int = 100) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.modes_before = self.modes
        environment = {"TERM": "xterm-256color", **env}
        self.process = subprocess.Popen(
            argv,
            env=environment,
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=_take,
        )
        os.close(slave)
        self.raw = ""
        self._from = 0

    @property
    def text(self) -> str:
        """Return the text that was sent, without colours."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw).replace("\r\n", "\n")

    def expect(self, text: str, timeout: float = 60.0) -> str:
        """Waits for `text` after what was expected before; all that was sent up to it."""
        deadline = time.monotonic() + timeout
        while (at := self.text.find(text, self._from)) < 0:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} did not come:\n{self.text}"
            if select.select([self._master], [], [], left)[0] and not self._read():
                assert self.text.find(text, self._from) >= 0, f"it ended before {text!r}:\n{self.text}"
        self._from = at + len(text)
        return self.text

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux: nobody has the other end any more
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)

    def send(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait(self, timeout: float = 60.0) -> int:
        """The exit code, with the rest of the output read."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it has not ended:\n{self.text}"
            if select.select([self._master], [], [], 0.05)[0]:
                self._read()
        while select.select([self._master], [], [], 0.05)[0] and self._read():
            pass
        return self.process.returncode

    def resize(self, columns: int, lines: int = 40) -> None:
        """The window gets another size; its process is told."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    @property
    def modes(self) -> Sequence[object]:
        """Return the settings of the terminal, for comparison."""
        return termios.tcgetattr(self._master)

    def hang_up(self) -> None:
        """The window is closed."""
        os.close(self._master)
        self._master = -1

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        if self._master >= 0:
            os.close(self._master)
