"""PID 1 of a container: starts the worker, passes signals on, reaps whatever is left to it, ends with its exit code.

The kernel gives orphans to PID 1 and drops signals that PID 1 has no handler for. A worker should do neither job: its
event loop waits for its own children only.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from typing import Final

FORWARDED: Final = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
# Python ignores these signals at its start, and ignored signals stay ignored after exec: the child needs the defaults.
RESET: Final = (signal.SIGPIPE, signal.SIGXFSZ)


def run(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a program as PID 1 does. Return its exit code, 128 + n when signal n ended it.

    Call it before any thread is started.
    """
    waited = {signal.SIGCHLD, *FORWARDED}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    child = os.posix_spawn(argv[0], list(argv), dict(environment), setsigmask=(), setsigdef=RESET)
    while True:
        number = signal.sigwait(waited)
        if number == signal.SIGCHLD:
            code = _reap(child)
            if code is not None:
                return code
        else:
            os.kill(child, number)  # the child is not reaped yet, so no other process has its PID


def _reap(child: int) -> int | None:
    """Reap every process that has ended, because one SIGCHLD can stand for many.

    Return the child's exit code when it is among them, else None.
    """
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            ended = os.waitstatus_to_exitcode(status)
            code = ended if ended >= 0 else 128 - ended
