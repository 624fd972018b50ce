"""The guard: a small process between `kubiya dev` and one of its children, so that nothing outlives `kubiya dev`.

`kubiya dev` can be killed with SIGKILL and then cannot stop its children. So each child is started by this file, which
runs as a separate program (`python -I -S guard.py -- ARGV…`, standard library, about 15 ms) in its own session: a
Ctrl-C in the terminal reaches `kubiya dev` only, which then stops its children in order. Standard input is a pipe, and
only `kubiya dev` holds its other end; an end of file means that `kubiya dev` has ended, in any way.

    end of file on stdin   SIGTERM to the child, GRACE seconds later SIGKILL to its process group
    SIGTERM, SIGINT        passed on to the child
    SIGQUIT                SIGKILL to the child's process group
    the child has ended    SIGKILL to what is left of its group; the guard ends with the child's code (128 + signal)

On Linux the child also dies with its guard (PR_SET_PDEATHSIG; this process has one thread, so fork is safe here).

`kubiya dev` uses `Child`; `main` is the program and imports nothing from this package.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

GRACE = 3.0  # seconds between SIGTERM and SIGKILL when `kubiya dev` is gone
_PR_SET_PDEATHSIG = 1


class Child:
    """A guarded child. Its output is appended to `log`; nothing of its environment is written anywhere."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path, *, umask: int = -1) -> None:
        """Start the guard and its child. Raises OSError when the log or the guard fails.

        `umask` -1 keeps the umask of this process.
        """
        self.name = name
        self.log = log
        self.started = time.monotonic()
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            self.log_start = os.fstat(descriptor).st_size  # bytes: where this run's lines begin
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, "--", *argv],
                stdin=subprocess.PIPE,
                stdout=descriptor,
                stderr=descriptor,
                env=dict(env),
                start_new_session=True,
                umask=umask,
            )
        finally:
            os.close(descriptor)

    @property
    def pid(self) -> int:
        """Return the PID of the guard."""
        return self._process.pid

    def code(self) -> int | None:
        """Return the child's exit code (128 + signal); None while it runs."""
        code = self._process.poll()
        return 128 - code if code is not None and code < 0 else code

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGQUIT)

    def wait(self, timeout: float) -> bool:
        """Return whether the child has ended within `timeout` seconds."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()

    def last_lines(self, count: int = 5, size: int = 8192) -> list[str]:
        """Return the last lines that this run has logged."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(self.log_start, file.seek(0, os.SEEK_END) - size))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return []
        return [line for line in lines if line.strip()][-count:]

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)


def _die_with_parent(parent: int) -> None:
    """Ask Linux for SIGKILL when the guard ends. Other systems rely on the pipe alone."""
    if sys.platform.startswith("linux"):
        import ctypes  # 10 ms; in the child only, after the fork

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent ended before the call above
            os._exit(128 + signal.SIGKILL)


def _spawn(argv: Sequence[str]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        _die_with_parent(parent)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.execv(argv[0], list(argv))  # noqa: S606 - our own argv, no shell
    except BaseException as error:
        os.write(2, f"{argv[0]} cannot be started: {error}\n".encode())
    os._exit(127)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass  # the group has no process any more


def _reap(child: int) -> int | None:
    """Return the child's code if it has ended."""
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid == 0:
        return None
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def main(argv: Sequence[str]) -> int:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)  # the signal's number is read from the wake-up pipe
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    child = _spawn(argv)
    watched = [reader, 0]
    deadline: float | None = None
    while True:
        code = _reap(child)
        if code is not None:
            _kill_group(child)
            return code
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select(watched, [], [], left)
        if 0 in ready and not os.read(0, 4096):
            watched.remove(0)
            deadline = time.monotonic() + GRACE
            os.kill(child, signal.SIGTERM)
        if reader in ready:
            for arrived in os.read(reader, 64):
                if arrived in (signal.SIGTERM, signal.SIGINT):
                    os.kill(child, signal.SIGTERM)
                elif arrived == signal.SIGQUIT:
                    _kill_group(child)
        if deadline is not None and time.monotonic() >= deadline:
            _kill_group(child)
            deadline = None


if __name__ == "__main__":
    sys.exit(main(sys.argv[sys.argv.index("--") + 1 :]))
