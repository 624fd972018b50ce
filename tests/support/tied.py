"""This module runs a program that ends with whoever started it: `python -m tests.support.tied FD PROGRAM ARGUMENTS…`.

pytest that is killed, also by SIGTERM, runs no teardown. The program has this process's PID; a child of it waits for
the end of the pipe that only the starter can write to, and then kills it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Final

POLL: Final = 0.2  # seconds, on a system without descriptors of processes


@contextlib.contextmanager
def command(argv: Sequence[str]) -> Iterator[tuple[list[str], int, int]]:
    """Give the command line of the tied program, the descriptor that it must inherit, and the one that is kept.

    The program lives while the kept one is open. The other is closed here, after the program was started.
    """
    inherited, kept = os.pipe()
    try:
        yield [sys.executable, "-m", "tests.support.tied", str(inherited), *argv], inherited, kept
    finally:
        os.close(inherited)


def _watch(descriptor: int, program: int) -> None:
    """Kill the program once the pipe has ended; return when the program has ended itself."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):  # its output would stay open behind a program that has ended
        os.dup2(null, standard)
    ends, patience = [descriptor], POLL
    if sys.platform == "linux":
        ends, patience = [descriptor, os.pidfd_open(program)], 60.0
    while os.getppid() == program:
        ready, _, _ = select.select(ends, [], [], patience)
        if descriptor in ready:
            os.kill(program, signal.SIGKILL)
            return


def main() -> None:
    descriptor, argv = int(sys.argv[1]), sys.argv[2:]
    program = os.getpid()
    if os.fork() == 0:
        with contextlib.suppress(OSError):  # the program was quicker to end
            _watch(descriptor, program)
        os._exit(0)
    os.close(descriptor)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main()
