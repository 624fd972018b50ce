"""Run a child once for its supervisor: start it through a guard, signal it, learn how it ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from dataclasses import dataclass
from typing import Any, Final

from . import death_pipe, guard, processes
from .guard import ChildCommand

EX_CONFIG: Final = 78
_PIPE_SIZE: Final = 1 << 20
NOT_THERE: Final = ("ENOENT", "EACCES", "ENOTDIR", "ENOEXEC", "EPERM", "ELOOP")  # errors that a new try does not solve


@dataclass(frozen=True, slots=True)
class ChildExit:
    """A run ends with an exit code or a signal."""

    code: int | None = None  # exit code
    signal: str | None = None
    why: str = ""  # the reason, if code and signal do not tell it

    @classmethod
    def of_status(cls, status: int, why: str) -> ChildExit:
        """Read what `waitpid` returned."""
        code = os.waitstatus_to_exitcode(status)
        return cls(code=code, why=why) if code >= 0 else cls(signal=signal_name(-code), why=why)

    @property
    def shell_code(self) -> int:
        """Return the exit code as a shell does: 128 + the signal number for a signal."""
        if self.code is not None:
            return self.code
        return 128 + signal.Signals[self.signal] if self.signal else 70

    def __str__(self) -> str:
        text = self.signal or f"exit code {self.code}"
        return f"{self.why} ({text})" if self.why else text


class Child:
    """This is a guard and the process that it guards, for one loop."""

    def __init__(
        self,
        program: ChildCommand,
        environment: dict[str, str],
        run: str,
        log: int,
        keep: int = -1,
        *,
        spawn: bool = False,
        umask: int = -1,
    ) -> None:
        """Start the guard: fork it, or `spawn` it where this process has other threads. Raises OSError.

        `run` marks the processes of this run. `log` is the descriptor for the child's output. A forked guard holds
        `keep` open; a spawned one sets `umask` (-1: that of this process).
        """
        self.run, self.pid, self.start = run, 0, ""
        self.end: ChildExit | None = None
        self.left: list[int] = []
        self.guard_ended = False
        self.process: subprocess.Popen[bytes] | None = None  # the guard, when it was spawned
        self._rest = b""
        self.deaf = False  # the guard has closed its end: no more messages
        ours, theirs = socket.socketpair()
        death, self._alive = os.pipe()
        self.channel = ours
        ours.setblocking(False)
        environment = {**environment, processes.MARK: run, death_pipe.VARIABLE: str(death_pipe.DESCRIPTOR)}
        try:
            if spawn:
                self.process = guard.spawn(program, environment, theirs, death, log, umask)
                self.guard = self.process.pid
            else:
                self.guard = os.fork()
                if self.guard == 0:
                    guard.run(program, environment, theirs, death, log, keep)
        except OSError:
            os.close(self._alive)
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(death)

    def hear(self) -> list[dict[str, Any]]:
        """Read and return the guard's new messages, and update this object from them."""
        while True:
            try:
                data = self.channel.recv(4096)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                data = b""
            if not data:
                self.deaf = True
                break
            self._rest += data
        *texts, self._rest = self._rest.split(b"\n")
        messages: list[dict[str, Any]] = [json.loads(text) for text in texts]
        for message in messages:
            self._note(message)
        return messages

    def _note(self, message: dict[str, Any]) -> None:
        if "pid" in message:
            self.pid, self.start = message["pid"], message["start"]
        elif "error" in message:
            import errno

            lasting = errno.errorcode.get(message["errno"]) in NOT_THERE
            self.end = ChildExit(code=EX_CONFIG if lasting else 71, why=message["error"])
        elif "code" in message:
            number = message["signal"]
            self.end = ChildExit(code=message["code"], signal=signal_name(number) if number else None)
        elif "left" in message:
            self.left = message["left"]

    def signal(self, number: int) -> None:
        """Send a signal to the child if it still runs."""
        self._order(number)

    def kill(self) -> None:
        """Send SIGKILL to every process that is left of the run."""
        self._order(guard.KILL_ALL)

    def kill_guard(self) -> None:
        """Kill a guard that does not answer.

        A supervisor that is a subreaper then inherits the guarded processes; others find them by their mark.
        """
        if not self.guard_ended:
            os.kill(self.guard, signal.SIGKILL)

    def close(self) -> None:
        self.channel.close()
        os.close(self._alive)

    def _order(self, number: int) -> None:
        try:
            self.channel.send(bytes([number]))
        except OSError:
            pass  # the guard has ended; SIGCHLD reports the rest


def output_pipe() -> tuple[int, int]:
    """Make the pipe for the child's output; return the end to read and the end to write.

    It is enlarged where the system allows it, so that a burst of output does not block the child.
    """
    import fcntl

    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        fcntl.fcntl(writer, getattr(fcntl, "F_SETPIPE_SZ"), _PIPE_SIZE)  # noqa: B009 - Linux only
    except (AttributeError, OSError):
        pass  # the default of 64 KiB is enough to work
    return reader, writer


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
