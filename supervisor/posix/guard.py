"""The guard is a small process between the supervisor and one run of its child, so that nothing outlives either.

It starts the child and is its parent. A process with one thread, such as the supervisor, forks it, which costs little
memory; others `spawn` it as a program of its own, because a fork beside threads can hang. On Linux it is the
subreaper of all processes below it, so a process that leaves the child's session or loses its parent becomes its
child. The supervisor and the guard talk through a socket pair:

    to the guard      one byte: the number of a signal for the child; KILL_ALL: SIGKILL for all that is left
    end of file       the supervisor is gone: SIGTERM to the child, GRACE seconds later SIGKILL to all that is left
                      (what the folder `keep` names too, unless it may outlive the supervisor)
    from the guard    JSON lines: {"pid", "start"}, or {"error", "errno"} when the child cannot be started;
                      {"code", "signal"} when it has ended; then {"left": [PIDs that it had left behind]}

Processes that the child leaves behind get SIGTERM, and SIGKILL after LEFT_GRACE, but for those that the child has named
in the folder `keep` (`kept.py`). The guard exits when none is left. It
ignores all other signals, so a signal to every process of a service does not end it too early. If it is killed
nevertheless, the child gets SIGTERM from the kernel (on Linux), and the supervisor inherits the remaining processes and
ends them.

Without a subreaper, these processes are found by their session and by the mark in their environment
(`processes.remains`). The child holds the reading end of the death pipe (`death_pipe.py`).
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from . import death_pipe, environment, kept, kernel, processes
from .processes import Process
from .wakeup import WakeupPipe

GRACE: Final = 3.0  # seconds from the supervisor's death to SIGKILL
LEFT_GRACE: Final = 1.0  # seconds that processes left behind by the child get to stop
LOOK_EVERY: Final = 0.02  # seconds between looks at what is left
SETTLE: Final = 3.0  # seconds after SIGKILL; a process in uninterruptible sleep may survive it
KILL_ALL: Final = 0xFF


@dataclass(frozen=True, slots=True)
class ChildCommand:
    """This is the program that a guard runs. `argv` holds no secret, because every user of the machine can read it."""

    argv: tuple[str, ...]
    cwd: str = "/"
    portable: bool = False  # use no Linux-only features
    keep: str = ""  # folder in which the child names processes that may outlive it; "": none may
    keep_beyond: bool = False  # they may outlive the supervisor, too


# The guard needs no site-packages on Linux, and starts in half the time without them.
_FLAGS: Final = ("-I", "-S") if kernel.LINUX else ("-I",)
_BOOT: Final = "import sys; sys.path.append(sys.argv[1]); from {}.posix import guard; guard.main(sys.argv[2])"


def spawn(
    program: ChildCommand, environment: Mapping[str, str], channel: socket.socket, death: int, log: int, umask: int = -1
) -> subprocess.Popen[bytes]:
    """Start a guard as a program of its own; the descriptors are as for `run`. Raises OSError.

    `umask` -1 keeps the umask of this process.
    """
    package = Path(__file__).parents[1]
    orders = {"argv": program.argv, "cwd": program.cwd, "channel": channel.fileno(), "death": death, "log": log}
    return subprocess.Popen(
        [sys.executable, *_FLAGS, "-c", _BOOT.format(package.name), str(package.parent), json.dumps(orders)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=(channel.fileno(), death, log),
        env=dict(environment),
        start_new_session=True,
        umask=umask,
    )


def main(orders: str) -> NoReturn:
    """Run as the program that `spawn` starts. Does not return."""
    order = json.loads(orders)
    program = ChildCommand(tuple(order["argv"]), order["cwd"])
    started_with = dict(os.environ)
    environment.overwrite_secrets()
    run(program, started_with, socket.socket(fileno=order["channel"]), order["death"], order["log"])


def run(
    program: ChildCommand, environment: dict[str, str], channel: socket.socket, death: int, log: int, keep: int = -1
) -> NoReturn:
    """Run as the guard, in a process of its own. Does not return.

    `death` is the reading end of the death pipe and `log` the descriptor for the child's output. `keep` (a PID file)
    stays open.
    """
    code = 70
    try:
        if os.getsid(0) != os.getpid():
            os.setsid()
        _only({channel.fileno(), death, log, keep})
        _Guard(program, environment, channel, death, log).run()
        code = 0
    finally:
        os._exit(code)


class _Guard:
    def __init__(
        self, program: ChildCommand, environment: dict[str, str], channel: socket.socket, death: int, log: int
    ) -> None:
        self._program, self._environment, self._channel, self._death, self._log = (
            program,
            environment,
            channel,
            death,
            log,
        )
        self._mark = environment[processes.MARK]
        self._reaper = not program.portable and kernel.become_subreaper()
        self._table = processes.table(program.portable)
        self._alone = False  # the supervisor is gone
        self._child = 0
        self._ended = False
        self._deadline: float | None = None

    def run(self) -> None:
        kernel.name_process("guard")
        wakeup = WakeupPipe([signal.SIGCHLD])
        for name in ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "PIPE"):
            signal.signal(signal.Signals[f"SIG{name}"], signal.SIG_IGN)
        self._channel.setblocking(False)
        if not self._start():
            return
        while not self._ended:
            watched: list[int] = [wakeup.reader] if self._alone else [wakeup.reader, self._channel.fileno()]
            left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            ready, _, _ = select.select(watched, [], [], left)
            wakeup.arrived()
            self._reap()
            if self._channel.fileno() in ready and not self._ended:
                self._obey()
            if self._deadline is not None and time.monotonic() >= self._deadline:
                break
        self._sweep()

    def _start(self) -> bool:
        told, teller = os.pipe()
        parent = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            _exec(self._program, self._environment, self._death, self._log, teller, parent)
        os.close(teller)
        os.close(self._death)
        os.close(self._log)
        with os.fdopen(told, "rb") as pipe:
            failure = pipe.read()  # the pipe closes when exec succeeds
        if failure:
            os.waitpid(self._child, 0)
            number, _, text = failure.decode(errors="replace").partition(" ")
            self._say(error=text, errno=int(number))
            return False
        process = self._table.one(self._child)
        self._say(pid=self._child, start=process.start if process else "")
        return True

    def _obey(self) -> None:
        try:
            orders = self._channel.recv(64)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            orders = b""
        if not orders:
            self._alone = True
            self._deadline = time.monotonic() + GRACE
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # a suspended child cannot act on SIGTERM
            if not self._program.keep_beyond:
                kept.ask_to_end(self._program.keep, self._table)
            return
        for order in orders:
            if order == KILL_ALL:
                processes.signal_all(self._table, self._left(), signal.SIGKILL)
                self._signal(signal.SIGKILL)
            else:
                self._signal(order)

    def _signal(self, number: int) -> None:
        """Send a signal to the child. It is not reaped yet, so its PID cannot belong to another process."""
        if not self._ended:
            os.kill(self._child, number)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._child:
                self._ended = True
                code = os.waitstatus_to_exitcode(status)
                self._say(code=code if code >= 0 else None, signal=-code if code < 0 else None)

    def _left(self) -> list[Process]:
        left = processes.remains(self._table, os.getpid(), self._child, self._mark, reaper=self._reaper)
        if self._alone and not self._program.keep_beyond:
            also = kept.named(self._program.keep, self._table)
            return [*{process.pid: process for process in (*left, *also)}.values()]
        return kept.without(left, self._program.keep, self._table)

    def _sweep(self) -> None:
        """End the processes that are left, and report them when the child has ended."""
        if self._alone and not self._program.keep_beyond:
            kept.await_end(self._program.keep, self._table, (self._deadline or 0.0) - time.monotonic())
        left = self._left()
        if self._ended:
            self._say(left=[process.pid for process in left])
        if left and not self._alone:
            left = self._end(left, signal.SIGTERM, LEFT_GRACE)
        if left:
            self._end(left, signal.SIGKILL, SETTLE)

    def _end(self, left: list[Process], number: int, patience: float) -> list[Process]:
        deadline = time.monotonic() + patience
        signalled: set[tuple[int, str]] = set()
        while left and time.monotonic() < deadline:
            fresh = [process for process in left if (process.pid, process.start) not in signalled]
            processes.signal_all(self._table, fresh, number)
            signalled |= {(process.pid, process.start) for process in fresh}
            if number != signal.SIGKILL:
                processes.signal_all(self._table, fresh, signal.SIGCONT)
                if self._ordered_to_kill():
                    return left
            time.sleep(LOOK_EVERY)
            self._reap()
            left = self._left()
        return left

    def _ordered_to_kill(self) -> bool:
        """Return whether there is no more time: a kill was ordered, or the supervisor is gone."""
        try:
            orders = self._channel.recv(64)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True
        return not orders or KILL_ALL in orders

    def _say(self, **message: Any) -> None:
        try:
            self._channel.send(json.dumps(message).encode() + b"\n")
        except OSError:
            pass  # the supervisor is gone; the loop sees the end of file


def _exec(
    program: ChildCommand, environment: dict[str, str], death: int, log: int, teller: int, parent: int
) -> NoReturn:
    """Turn the forked process into the child. Does not return."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in range(1, signal.NSIG):
            try:
                signal.signal(number, signal.SIG_DFL)
            except (OSError, ValueError):
                pass  # SIGKILL, SIGSTOP, the C library's own
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if not program.portable:
            kernel.die_with_parent(signal.SIGTERM, parent)
        null = os.open(os.devnull, os.O_RDONLY)
        moved = [_above(descriptor) for descriptor in (null, log, death, teller)]
        null, log, death, teller = moved
        for source, target in ((null, 0), (log, 1), (log, 2), (death, death_pipe.DESCRIPTOR)):
            os.dup2(source, target)
        _only({0, 1, 2, death_pipe.DESCRIPTOR, teller})
        os.chdir(program.cwd)
        os.execvpe(program.argv[0], list(program.argv), environment)  # noqa: S606 - the caller's argv, no shell
    except BaseException as error:
        reason = (error.errno or 0) if isinstance(error, OSError) else 0
        os.write(teller, f"{reason} {program.argv[0]} cannot be started: {error}".encode())
    os._exit(127)


def _above(descriptor: int) -> int:
    """Copy a descriptor to number 10 or above, so that dup2 onto 0 to 3 cannot overwrite it. Exec closes the copy."""
    import fcntl

    return int(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10))


def _only(keep: Iterable[int]) -> None:
    """Close all descriptors except the standard ones and those in `keep`."""
    low = 3
    for descriptor in sorted(number for number in set(keep) if number >= 3):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, max(low, min(os.sysconf("SC_OPEN_MAX"), 1 << 20)))
