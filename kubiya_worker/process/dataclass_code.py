"""The compiled methods of dataclasses, kept on disk from one start of a worker to the next.

`@dataclass` writes the source of `__init__`, `__repr__` and others as text, and compiles it at each import: the SDK and
this worker have 1,300 such methods, a quarter of the time of all imports. Python keeps the code of modules, not this.
A method is found by the hash of its text, so that another version of a package finds none, and compiles its own.

The file is as trusted as the worker's virtual environment beside it: only this user may write to it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import marshal
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType
from typing import Any, Final

from kubiya_worker._supervisor.posix import files

FOLDER: Final = "~/.kubiya/bytecode"
FORMAT: Final = b"dataclasses 1\n" + importlib.util.MAGIC_NUMBER  # code of another Python is not read
HASH_BYTES: Final = 8
MOST_UNUSED: Final = 1.25  # methods in the file for each that a start has used


class DataclassCode:
    """The code of the methods that one phase of the start makes, by the hash of their sources."""

    def __init__(self, file: Path | None) -> None:
        """Read what an earlier start has kept. None: there is no place for it, and nothing is kept."""
        self._file = file
        self._code: dict[bytes, CodeType] = _read(file) if file else {}
        self._used: set[bytes] = set()
        self.compiled = 0  # methods that were not in the file

    def execute(self, source: str, scope: dict[str, Any], names: Mapping[str, object]) -> None:
        """Execute a source text as the built-in `exec` does, which `dataclasses` calls."""
        key = importlib.util.source_hash(source.encode())
        code = self._code.get(key)
        if code is None:
            # `dont_inherit`: this module's `from __future__` would make the annotations of the methods texts.
            code = self._code[key] = compile(source, "<string>", "exec", dont_inherit=True)
            self.compiled += 1
        self._used.add(key)
        exec(code, scope, names)  # noqa: S102 - what `dataclasses` itself does with the text

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Have `dataclasses` execute its texts by this object meanwhile."""
        hidden = vars(dataclasses).get("exec")
        setattr(dataclasses, "exec", self.execute)  # noqa: B010 - it hides the built-in function there
        try:
            yield
        finally:
            if hidden is None:
                delattr(dataclasses, "exec")
            else:
                setattr(dataclasses, "exec", hidden)  # noqa: B010

    def keep(self) -> None:
        """Write the code for the next start if some of it had to be compiled, and let go of it.

        What this start did not need stays, as the next one may, unless a fifth of the file is of that kind. A disk
        that takes none is no fault: the next start compiles it again.
        """
        if self._file is not None and self.compiled and not sys.dont_write_bytecode:
            wanted = self._code if len(self._code) <= MOST_UNUSED * len(self._used) else self._used
            kept = marshal.dumps({key: self._code[key] for key in wanted})
            folder = self._file.parent
            with contextlib.suppress(OSError):
                for each in (folder.parent, folder):
                    each.mkdir(mode=0o700, exist_ok=True)
                files.replace(self._file, FORMAT + importlib.util.source_hash(kept) + kept)
        self._code.clear()


def file_of(phase: str) -> Path | None:
    """Return where the code of a phase is kept; None for a user without a home."""
    try:
        return Path(FOLDER).expanduser() / f"{phase}.{sys.implementation.cache_tag}"
    except RuntimeError:
        return None


def _read(file: Path) -> dict[bytes, CodeType]:
    """Return the code in a file; none where it is damaged, or where others than this user may have written it."""
    try:
        with file.open("rb") as opened:
            about = os.fstat(opened.fileno())
            if about.st_uid != os.geteuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return {}
            data = opened.read()
    except OSError:
        return {}
    begin = len(FORMAT) + HASH_BYTES
    kept = memoryview(data)[begin:]
    if not data.startswith(FORMAT) or data[len(FORMAT) : begin] != importlib.util.source_hash(bytes(kept)):
        return {}
    code = marshal.loads(kept)  # noqa: S302 - whoever may write this file may write the worker's own code
    return code if isinstance(code, dict) else {}
