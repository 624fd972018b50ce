"""This module runs one call of a file tool in a thread, below a folder and within the skill's limits."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.base import ToolContext, ToolResult
from kubiya_worker.tools.files.confinement import Folder, PathRefused

TIMEOUT: Final = 60.0  # seconds of one call
_LOCKS: Final = tuple(threading.Lock() for _ in range(64))  # locks for changes; two files may share a lock
PATH: Final = {"type": "string", "minLength": 1, "description": "Relative to the base folder"}


@dataclass(frozen=True)
class FileLimits:
    """The limits of a skill's configuration; `extensions` have their dot and are in lower case, None allows any."""

    folder: Folder
    create_base: bool
    extensions: frozenset[str] | None
    max_size: int | None

    def check_extension(self, path: str) -> None:
        suffix = Path(path).suffix.lower()
        if self.extensions is not None and suffix not in self.extensions:
            raise PathRefused(f"{path}: only files with {', '.join(sorted(self.extensions))} are allowed")


class _Stopped(Exception):
    """The call was cancelled while its thread was at work."""


class FileTool:
    """Run `work` in a thread, as a disk can be slow; a cancelled call ends the thread before it returns."""

    spec: ToolSpec

    def __init__(self, limits: FileLimits) -> None:
        self._limits = limits

    def _check_text(self, handle: int, path: str) -> int:
        """Return the file's size in bytes. Raises PathRefused for a binary file and for one that is too large."""
        size = os.fstat(handle).st_size
        if b"\0" in os.pread(handle, 8192, 0):
            raise PathRefused(f"{path}: is a binary file of {size} bytes")
        self._check_size(path, size)
        return size

    def _check_size(self, path: str, size: int) -> None:
        if self._limits.max_size is not None and size > self._limits.max_size:
            raise PathRefused(f"{path}: has {size} bytes; {self._limits.max_size} are the most (`max_file_size`)")

    @contextmanager
    def _alone(self, path: str, check: Callable[[], None]) -> Iterator[None]:
        """Hold off other changes of the same file by this worker: models ask for several edits of one file at once."""
        place = os.path.normpath(self._limits.folder.base / path)
        lock = _LOCKS[hash(place) % len(_LOCKS)]
        while not lock.acquire(timeout=0.1):
            check()
        try:
            yield
        finally:
            lock.release()

    def work(self, arguments: dict[str, Any], context: ToolContext, check: Callable[[], None]) -> ToolResult:
        """Do the call; raise PathRefused for what is refused. `check` raises when the call has been cancelled."""
        raise NotImplementedError

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        stop = threading.Event()

        def check() -> None:
            if stop.is_set():
                raise _Stopped

        def work() -> ToolResult:
            try:
                if self._limits.create_base:
                    self._limits.folder.base.mkdir(parents=True, exist_ok=True)
                return self.work(arguments, context, check)
            except PathRefused as refused:
                return ToolResult(f"{refused}.", error=str(refused))
            except OSError as error:
                reason = error.strerror or str(error)
                return ToolResult(f"The file system says: {reason}.", error=reason)

        task = asyncio.get_running_loop().run_in_executor(None, work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            stop.set()
            while not task.done():
                try:
                    await asyncio.wait([task])
                except asyncio.CancelledError:
                    continue  # once more: the thread has been told and will not be long
            task.exception()  # taken note of: it was _Stopped, or the work was done a moment earlier
            raise
