"""The folder of a long command: who may start it, what is known of it, and how it ended.

Its files are written in this order: `facts`, `started` (on the disk before the program runs), `keeper`, the output, and
`outcome`. The keeper holds the lock from its start until the outcome is on the disk. So a free lock without an outcome
means that the keeper was killed. The kernel frees a lock at any death, so no PID is ever taken for another.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kubiya_worker._supervisor.posix import files, lock

RUNNING: Final = "running"
ENDED: Final = "ended"
LOST: Final = "lost"  # it was started, and nobody knows how it ended
NEW: Final = "new"  # it was never started
RESERVED: Final = 4_096  # bytes
_WAITER: Final = "waiter."
_KEY: Final = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class CommandFolder:
    """The folder of one command, below the worker's folder for all."""

    path: Path

    @classmethod
    def of_call(cls, root: Path, execution_id: str, tool_call_id: str) -> CommandFolder:
        name = hashlib.sha256(f"{execution_id}\0{tool_call_id}".encode()).hexdigest()[:16]
        return cls(root / name)

    @property
    def key(self) -> str:
        return self.path.name

    def make(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def locked(self) -> int | None:
        """Return a descriptor that holds the lock; None while another process holds it. Raises OSError."""
        handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if lock.try_lock(handle):
            return handle
        os.close(handle)
        return None

    def is_held(self) -> bool:
        """Return whether a keeper, or a worker that starts one, holds the lock."""
        try:
            handle = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who look do not see each other
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(handle)

    def was_started(self) -> bool:
        return (self.path / "started").exists()

    def state(self) -> str:
        """Return one of RUNNING, ENDED, LOST and NEW."""
        if (self.path / "outcome").exists():
            return ENDED
        if self.is_held():
            return RUNNING
        if (self.path / "outcome").exists():  # it ended between the two looks
            return ENDED
        return LOST if self.was_started() else NEW

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Write one of the small files, for good: it is on the disk when this returns. Raises OSError."""
        draft = self._draft(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(draft, flags, 0o600), "w", encoding="utf-8") as file:
            json.dump(value, file)
            file.truncate()  # after the content, so that a reserved place is written over and not given away
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path / name)
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def reserve(self, name: str) -> None:
        """Take the place on the disk that a file will need, so that it can be written when the disk is full."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(self._draft(name), flags, 0o600)
        try:
            os.write(handle, bytes(RESERVED))
            os.fsync(handle)
        finally:
            os.close(handle)

    def _draft(self, name: str) -> Path:
        return self.path / f".{name}.{os.getpid()}"

    def note_waiter(self, workflow_id: str) -> None:
        """Note a workflow that wants to be told of the end. Raises OSError."""
        self.write(f"{_WAITER}{hashlib.sha256(workflow_id.encode()).hexdigest()[:16]}", {"workflow_id": workflow_id})

    def waiters(self) -> list[str]:
        """Return the names of the files that note workflows to be told of the end."""
        return [each.name for each in self.path.glob(f"{_WAITER}*")]

    def forget_waiter(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def read(self, name: str) -> dict[str, Any]:
        """Return one of the small files; empty when it is not there, or not whole."""
        try:
            content = json.loads(files.read(self.path / name))
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}


def place_id(root: Path) -> str:
    """Return what tells this folder from that of any other host; it is made on the first call. Raises OSError."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = root / "place"
    if not path.exists():
        token = secrets.token_hex(8)
        draft = root / f".place.{token}"
        draft.write_text(token, encoding="utf-8")
        with contextlib.suppress(FileExistsError):  # another process was first
            os.link(draft, path)  # with its content, so that nobody reads half of it
        draft.unlink()
    return path.read_text(encoding="utf-8").strip()


def of_key(root: Path, key: str) -> CommandFolder | None:
    """Return the folder of this name, if there is one."""
    return CommandFolder(root / key) if _KEY.fullmatch(key) and (root / key).is_dir() else None


def every(root: Path) -> Iterator[CommandFolder]:
    """Yield all folders of commands, the oldest first."""
    try:
        entries = [entry for entry in os.scandir(root) if _KEY.fullmatch(entry.name)]
    except OSError:
        return
    for entry in sorted(entries, key=_age):
        yield CommandFolder(Path(entry.path))


def _age(each: os.DirEntry[str]) -> float:
    try:
        return each.stat(follow_symlinks=False).st_ctime
    except OSError:
        return 0.0
