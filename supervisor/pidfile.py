"""The PID file: it shows which supervisor runs here, proven by a lock and by an identity that is never used twice.

The file is locked (flock) while its supervisor lives, or while a guard still ends the processes of a killed supervisor.
So a second supervisor cannot start during that time, and a file without a lock is only a leftover. Content (indented
JSON):

    pid           the supervisor's
    …             the spec's `pid_fields`
    log_file, pid_file, started_at (RFC 3339, UTC)
    identity      {"pid", "start", "boot", "executable"}: a signal is sent only when all four agree
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from supervisor import processes
from supervisor.processes import Identity

WAIT: Final = 6.0  # seconds for the remains of a killed supervisor to end
RETRY: Final = 0.05
_TRIES: Final = 100  # tries to win the race against an owner that removes its file


class Held(Exception):
    """Another supervisor holds this PID file."""

    def __init__(self, path: str, pid: int | None) -> None:
        super().__init__(f"{path} belongs to a running supervisor" + (f", process {pid}" if pid else ""))
        self.pid = pid


class PidFile:
    """A PID file that this process holds."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path, self.descriptor = path, descriptor

    @classmethod
    def acquire(cls, path: str, *, wait: float = WAIT, sleep: Callable[[float], None] = time.sleep) -> PidFile:
        """Lock the PID file. Raises Held, or OSError.

        Waits up to `wait` seconds, only while the owner is dead and its processes are being ended.
        """
        deadline = time.monotonic() + wait
        for _ in range(_TRIES):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                while not _lock(descriptor):
                    owner = identity_in(content(path))
                    if (owner is None or processes.mismatch(owner) == "") or time.monotonic() >= deadline:
                        raise Held(path, owner.pid if owner else None)
                    sleep(RETRY)
                if _is_at(descriptor, path):
                    held, descriptor = cls(path, descriptor), -1
                    return held
            finally:
                if descriptor >= 0:
                    os.close(descriptor)
            # The owner removed the file between our open and our lock: we have locked a deleted file.
        raise Held(path, None)

    def write(self, identity: Identity, fields: Mapping[str, str], log_file: str, started_at: str) -> None:
        content = {
            "pid": identity.pid,
            **fields,
            "log_file": log_file,
            "pid_file": self.path,
            "started_at": started_at,
            "identity": identity.to_dict(),
        }
        # Written in place: the lock belongs to this file, so a new file with the same name would not be locked.
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, (json.dumps(content, indent=2) + "\n").encode(), 0)

    def remove(self) -> None:
        """Remove the file, then release the lock, so that no unlocked file with our name can be seen."""
        try:
            if _is_at(self.descriptor, self.path):
                Path(self.path).unlink()
        except OSError:
            pass  # the folder is gone, and the file with it
        os.close(self.descriptor)


def content(path: str) -> dict[str, Any]:
    """Return the content of the file; empty when it is missing or cannot be read as a JSON object."""
    try:
        data = json.loads(Path(path).read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def identity_in(data: Mapping[str, Any]) -> Identity | None:
    """Return the identity in the content, or None.

    None also when the outer and the inner PID differ: then somebody has edited the file.
    """
    identity = Identity.from_dict(data.get("identity"))
    return identity if identity is not None and identity.pid == data.get("pid") else None


def check(path: str) -> dict[str, Any]:
    """Return {"alive", "pid", "reason"}: whether the supervisor of this file runs, and the reason if it does not."""
    data = content(path)
    identity = identity_in(data)
    if identity is None:
        reason = "holds no identity" if Path(path).exists() else "does not exist"
        return {"alive": False, "pid": None, "reason": f"{path} {reason}"}
    reason = processes.mismatch(identity)
    return {"alive": not reason, "pid": identity.pid, "reason": reason}


def signal_owner(path: str, number: int) -> dict[str, Any]:
    """Signal the supervisor of this file. Return the same as `check`; `alive` means that the signal was sent."""
    identity = identity_in(content(path))
    if identity is None:
        return check(path)
    reason = processes.signal_identity(identity, number)
    return {"alive": not reason, "pid": identity.pid, "reason": reason}


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: str) -> bool:
    try:
        at = Path(path).stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (at.st_dev, at.st_ino) == (mine.st_dev, mine.st_ino)
