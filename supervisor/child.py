"""One run of the child, as the supervisor sees it: start it through a guard, signal it, learn how it ended."""

from __future__ import annotations

import json
import os
import signal
import socket
from dataclasses import dataclass
from typing import Any, Final

from supervisor import guard, processes
from supervisor.spec import Spec

EX_CONFIG: Final = 78
NOT_THERE: Final = ("ENOENT", "EACCES", "ENOTDIR", "ENOEXEC", "EPERM", "ELOOP")  # errors that a new try does not solve


@dataclass(frozen=True, slots=True)
class End:
    """The way a run has ended: an exit code or a signal."""

    code: int | None = None  # exit code
    signal: str | None = None
    why: str = ""  # the reason, if code and signal do not tell it

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
    """A guard and the process that it guards. The arbiter calls it from its own loop only."""

    def __init__(self, spec: Spec, environment: dict[str, str], run: str, log: int, keep: int) -> None:
        """Fork the guard.

        `log` is the descriptor for the child's output. The guard holds `keep` open. Raises OSError.
        """
        self.run, self.pid, self.start = run, 0, ""
        self.end: End | None = None
        self.left: list[int] = []
        self.guard_ended = False
        self._rest = b""
        self.deaf = False  # the guard has closed its end: no more messages
        ours, theirs = socket.socketpair()
        death, self._alive = os.pipe()
        self.channel = ours
        ours.setblocking(False)
        environment = {**environment, processes.MARK: run, "SUPERVISOR_DEATH_FD": str(guard.DEATH_FD)}
        try:
            self.guard = os.fork()
            if self.guard == 0:
                guard.run(spec, environment, theirs, death, log, keep)
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
            self.end = End(code=EX_CONFIG if lasting else 71, why=message["error"])
        elif "code" in message:
            number = message["signal"]
            self.end = End(code=message["code"], signal=signal_name(number) if number else None)
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

        The arbiter then inherits the guarded processes (on Linux) or finds them by their mark.
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


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def environment(spec: Spec, inherited: dict[str, str], notify: str) -> dict[str, str]:
    """Build the child's environment: ours, without the variables meant only for us, plus those of the spec."""
    ours = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
    made = {key: value for key, value in inherited.items() if key not in ours and key not in spec.unset}
    made.update(spec.env)
    if notify:
        made["NOTIFY_SOCKET"] = notify
        if spec.watchdog:
            made["WATCHDOG_USEC"] = str(int(spec.watchdog * 1_000_000))
    return made
