"""The cleanup process ends what tools have started when their worker is gone (kill -9, out of memory).

A worker that is killed cannot kill anything. Its supervisor may be gone too, and PR_SET_PDEATHSIG reaches children only
(and needs code between fork and exec, which is not safe beside threads). So the first tool that starts a program also
starts this file as a program of its own (`python -I -S`, standard library, about 15 ms once, no cost per call): it is
told of each process group as it comes and goes, and holds the reading end of a pipe whose other end only the worker
has. End of file there means that the worker is gone, whatever the way; then all groups that are left are killed, and on
Linux every process that still carries the worker's marker in its environment, such as a grandchild with a session of
its own. Folders with a call's keys, of which it is told too, are removed.

This file is both: `CleanupProcess` is the worker's side, `main` is the program.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time

if __name__ == "__main__":  # `-I -S` leaves only the standard library on the path
    sys.path.append(os.path.abspath(f"{__file__}/../../../.."))  # noqa: PTH100  (pathlib would double the start)

from kubiya_worker._supervisor.posix.markers import pids_with

MARKER = "KUBIYA_TOOL_CALL_ID"  # in the environment of every program that a tool starts: <worker's token>.<call>
_ROUNDS = 20  # of looking for processes with the marker, 50 ms apart: what forks while it is being killed


class CleanupProcess:
    """The worker's side, for one thread only; a process that died is started again by the next `watch`."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(8)
        self._groups: set[int] = set()
        self._folders: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None

    def ensure(self) -> None:
        """Start the cleanup process if there is none. Call this before a program starts, so that each is watched."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, self.token],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            start_new_session=True,
        )
        for group in self._groups:
            self._tell(f"+{group}\n")
        for folder in self._folders:
            self._tell(f">{folder}\n")

    def watch_folder(self, folder: str) -> None:
        """Remove a folder when the worker is gone; its path has no line break. `forget_folder` ends that."""
        self._folders.add(folder)
        self._tell(f">{folder}\n")

    def forget_folder(self, folder: str) -> None:
        self._folders.discard(folder)
        self._tell(f"<{folder}\n")

    def pids(self) -> set[int]:
        """Return the watched groups' leaders, and the cleanup process itself."""
        return {*self._groups, *([self._process.pid] if self._process else [])}

    def watch(self, group: int) -> None:
        self._groups.add(group)
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        self._groups.discard(group)
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """End the cleanup process; it kills the programs that it still watches."""
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.stdin is not None:
            try:
                process.stdin.close()
            except OSError:
                pass  # it is gone already
        process.wait()

    def _tell(self, line: str) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            os.write(self._process.stdin.fileno(), line.encode())
        except OSError:
            pass  # it died; the next `ensure` starts another and tells it of all groups


def main(token: str) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # only the end of the worker ends this process
    groups: set[int] = set()
    folders: set[bytes] = set()
    for line in sys.stdin.buffer:
        mark, about = line[:1], line[1:].rstrip(b"\n")
        if mark in b"+-":
            (groups.add if mark == b"+" else groups.discard)(int(about))
        else:
            (folders.add if mark == b">" else folders.discard)(about)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except OSError:
            pass  # all of it ended by itself
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    for _ in range(_ROUNDS):
        left = pids_with(f"{MARKER}={token}.".encode())
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1])
