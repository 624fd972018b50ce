"""A supervisor owns an instance: this is proven by a lock and by an identity that is never used twice.

    .worker.pid.lock    beside `worker.pid`, with the same content

The lock file is locked (flock) while its supervisor lives, or while a guard still ends the processes of a killed
supervisor. Its name is hidden, so that `rm worker.pid*` and a tidy person leave it alone. If it is removed
nevertheless, the identities in the PID file and in the state file still name the owner, and the owner makes the file
again (`Ownership.restore`). So neither a missing nor a wrong file starts a second supervisor, and a file whose process
is gone is only a leftover.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from . import files, lock, pidfile, processes
from .processes import Identity

WAIT: Final = 6.0  # seconds for the remains of a killed supervisor to end
RETRY: Final = 0.05
_TRIES: Final = 100  # tries to win the race against an owner that removes its file
_ENDED: Final = ("stopped", "failed")  # states of the state file in which its supervisor owns nothing any more


class Held(Exception):
    """Another supervisor owns this instance."""

    def __init__(self, path: str, pid: int | None) -> None:
        super().__init__(f"{path} belongs to a running supervisor" + (f", process {pid}" if pid else ""))
        self.pid = pid


@dataclass(frozen=True)
class Owner:
    """A supervisor of an instance. `record` is what it wrote about itself; `reason` tells why it is not alive."""

    alive: bool
    pid: int | None
    reason: str = ""
    identity: Identity | None = None
    record: Mapping[str, Any] = field(default_factory=dict)

    def as_answer(self) -> dict[str, Any]:
        return {"alive": self.alive, "pid": self.pid, "reason": self.reason}


class Ownership:
    """This is the instance that this process owns."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self.descriptor = path, descriptor
        self._text = b""
        self._stamp: files.Stamp | None = None

    @classmethod
    def acquire(
        cls, pid_file: str, state_file: str = "", *, wait: float = WAIT, sleep: Callable[[float], None] = time.sleep
    ) -> Ownership:
        """Lock the instance. Raises Held, or OSError.

        Waits up to `wait` seconds, only while the owner is dead and its processes are being ended.
        """
        path = lock_file(pid_file)
        deadline = time.monotonic() + wait
        for _ in range(_TRIES):
            descriptor = _open(path)
            try:
                while not lock.try_lock(descriptor):
                    owner = find(pid_file, state_file)
                    if owner.alive or time.monotonic() >= deadline:
                        raise Held(pid_file, owner.pid if owner.alive else None)
                    sleep(RETRY)
                if not files.is_at(descriptor, path):
                    continue  # the owner removed the file between our open and our lock: this is a deleted file
                owner = find(pid_file, state_file)  # alive when somebody has removed the lock file of a running one
                if owner.alive and owner.pid != os.getpid():
                    raise Held(pid_file, owner.pid)
                held, descriptor = cls(path, descriptor), -1
                return held
            finally:
                if descriptor >= 0:
                    os.close(descriptor)
        raise Held(pid_file, None)

    def declare(self, record: Mapping[str, Any]) -> None:
        """Write who owns the instance; `record` holds the identity. Raises OSError."""
        self._text = (json.dumps(record, indent=2) + "\n").encode()
        self._write()

    def _write(self) -> None:
        # Written in place: the lock belongs to this file, so a new file with the same name would not be locked.
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, self._text, 0)
        self._stamp = files.stamp(self._path)

    def restore(self) -> str:
        """Make the lock file again if somebody has changed it. Return what had become of it; "" when nothing had.

        Raises OSError when that is not possible now.
        """
        now = files.stamp(self._path)
        if now == self._stamp:
            return ""
        if files.is_at(self.descriptor, self._path):
            self._write()
            return "overwritten"
        descriptor = _open(self._path)
        if not lock.try_lock(descriptor):  # somebody who tries to start looks at it just now, and gives up
            os.close(descriptor)
            raise BlockingIOError(f"{self._path} is locked by another process")
        old, self.descriptor = self.descriptor, descriptor
        os.close(old)
        self._write()
        return "removed" if now is None else "replaced"

    def release(self) -> None:
        """Remove the file, then release the lock, so that no unlocked file with our name can be seen."""
        if files.is_at(self.descriptor, self._path):
            files.remove_own(self._path, files.stamp(self._path))
        os.close(self.descriptor)


def lock_file(pid_file: str) -> Path:
    """Return the path of the lock file that belongs to a PID file."""
    path = Path(pid_file)
    return path.with_name(f".{path.name}.lock")


def is_locked(pid_file: str) -> bool:
    """Return whether a process holds the lock: a supervisor, or the guard of one that was killed."""
    try:
        descriptor = os.open(lock_file(pid_file), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return not lock.try_lock(descriptor)
    finally:
        os.close(descriptor)


def find(pid_file: str, state_file: str = "") -> Owner:
    """Find the supervisor of an instance by the files that name it; the first whose process still is it counts.

    When none is alive, the answer tells of the PID file, which is the one that people look at.
    """
    content = pidfile.content(pid_file)
    for record in (pidfile.content(str(lock_file(pid_file))), content):
        identity = pidfile.identity_in(record)
        if identity is not None and not processes.mismatch(identity):
            return Owner(True, identity.pid, identity=identity, record=record)
    state = pidfile.content(state_file) if state_file else {}
    identity = Identity.from_dict(state.get("supervisor"))
    if identity is not None and state.get("state") not in _ENDED and not processes.mismatch(identity):
        return Owner(True, identity.pid, identity=identity, record=_record(state.get("owner")))
    identity = pidfile.identity_in(content)
    if identity is None:
        reason = "holds no identity" if Path(pid_file).exists() else "does not exist"
        return Owner(False, None, f"{pid_file} {reason}")
    return Owner(False, identity.pid, processes.mismatch(identity), identity, content)


def signal_owner(pid_file: str, number: int, state_file: str = "") -> Owner:
    """Signal the supervisor of an instance. Return the same as `find`; `alive` means that the signal was sent."""
    owner = find(pid_file, state_file)
    if not owner.alive or owner.identity is None:
        return owner
    reason = processes.signal_identity(owner.identity, number)
    return Owner(not reason, owner.pid, reason, owner.identity, owner.record)


def _record(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
