"""This module stores the files that runs have made: a row for each, and its content in a folder beside the database.

The content's name is its SHA-256 below a folder of the execution, so no name that a run chose is ever a path here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, func, select

from kubiya_worker.event_log import EventLogger
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.address import Place, PostgresAddress
from kubiya_worker.server.store.database import MEMORY, Database
from kubiya_worker.server.store.portable import put
from kubiya_worker.server.store.statement import Prepared

log = EventLogger(__name__)

FOLDER: Final = "run-files"
MOST: Final = 1_000  # files of an execution
MOST_BYTES: Final = 200 << 20  # of them together
LONGEST: Final = 1_024  # bytes of a path
# Seconds: a content that is younger may be on its way to its row. So often, too, it is looked for what no row names.
YOUNG: Final = 3_600.0
BINARY: Final = "application/octet-stream"
# By its first bytes, not by its name: only what is such an image is shown as one.
_IMAGES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)

_T = schema.run_files
_FIELDS = ("size", "sha256", "type", "refused", "stored_at")
_PUT = Prepared(put(_T, ["execution_id", "path"]))
_OF = Prepared(select(_T).where(_T.c.execution_id == bindparam("execution_id")).order_by(_T.c.path))
_ONE = Prepared(select(_T).where(_T.c.execution_id == bindparam("execution_id"), _T.c.path == bindparam("path")))
_SUM = Prepared(
    select(func.count(), func.coalesce(func.sum(_T.c.size), 0)).where(
        _T.c.execution_id == bindparam("execution_id"), _T.c.path != bindparam("path"), _T.c.refused == ""
    )
)
_SAME = Prepared(
    select(func.count()).where(_T.c.execution_id == bindparam("execution_id"), _T.c.sha256 == bindparam("sha256"))
)
_OLD = Prepared(select(_T.c.execution_id).distinct().where(_T.c.stored_at < bindparam("before")))
_DROP_OLD = Prepared(delete(_T).where(_T.c.stored_at < bindparam("before")))
_OWNERS = Prepared(select(_T.c.execution_id).distinct())


class FilesFull(Exception):
    """An execution has as many files, or bytes of files, as are kept."""


def kind_of(data: bytes) -> str:
    """Return the type of an image that a browser may show, else that of any bytes. Pure."""
    for first, kind in _IMAGES:
        if data.startswith(first):
            return kind
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else BINARY


def proper(path: str) -> bool:
    """Return whether a path names a file below a folder: relative, without `.` and `..`. Pure."""
    parts = path.split("/")
    return (
        0 < len(path.encode("utf-8", "surrogatepass")) <= LONGEST
        and "\0" not in path
        and _is_text(path)
        and not any(part in ("", ".", "..") for part in parts)
    )


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:  # half of a pair of code units, which no reply can hold
        return False
    return True


class RunFiles:
    def __init__(self, database: Database, place: Place, folder: Path | None = None) -> None:
        """Keep contents in `folder`; by default beside the database file, and beside a server's database nowhere."""
        self._db = database
        self.keep_days: float | None = None  # days after which files are removed; None keeps them
        self._looked_at = 0.0
        self._temporary = tempfile.mkdtemp(prefix="kubiya-run-files-") if folder is None and place == MEMORY else None
        if self._temporary:
            folder = Path(self._temporary)
        elif folder is None and not isinstance(place, PostgresAddress):
            folder = place.with_name(FOLDER)
        self.kept = folder is not None
        self._folder = folder or Path("/nonexistent")

    def close(self) -> None:
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def link(self, origin_id: str, execution_id: str, digests: Iterable[str]) -> set[str]:
        """Give an execution contents of another one, each as a second name of one file; return which are there.

        This reads and writes no row, so any thread may do it. Raises OSError.
        """
        source, target = self._of(origin_id), self._of(execution_id)
        linked = [digest for digest in set(digests) if (source / digest).is_file()]
        if linked:
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
        for digest in linked:
            try:
                os.link(source / digest, target / digest)
            except OSError:  # a file system without such links
                shutil.copyfile(source / digest, target / digest)
        return set(linked)

    def share(self, rows: Iterable[dict[str, Any]], execution_id: str, at: float) -> None:
        """Store the rows of files whose contents were linked for an execution."""
        with self._db.transaction():
            for row in rows:
                self._db.execute(_PUT, {**row, "execution_id": execution_id, "stored_at": at})

    def check_room(self, execution_id: str, path: str, size: int) -> None:
        """Raise FilesFull where a file of this size would be more than is kept."""
        count, others = next(iter(self._db.execute(_SUM, {"execution_id": execution_id, "path": path})))
        if count >= MOST or int(others) + size > MOST_BYTES:
            raise FilesFull

    def put(self, execution_id: str, path: str, data: bytes, digest: str, at: float) -> None:
        """Store the row of a file whose content was written, in place of what had its path."""
        before = self.find(execution_id, path)
        row = {"execution_id": execution_id, "path": path, "size": len(data), "sha256": digest, "stored_at": at}
        with self._db.transaction():
            self._db.execute(_PUT, {**row, "type": kind_of(data), "refused": ""})
        if before is not None and before["sha256"] != digest:
            self._forget_content(execution_id, before["sha256"])

    def refuse(self, execution_id: str, path: str, size: int, reason: str, at: float) -> None:
        """Name a file that is not stored, with the reason; what was stored under its path is removed."""
        before = self.find(execution_id, path)
        if before is None and len(self.list(execution_id)) >= 2 * MOST:
            raise FilesFull
        row = {"execution_id": execution_id, "path": path, "size": size, "sha256": "", "stored_at": at}
        with self._db.transaction():
            self._db.execute(_PUT, {**row, "type": BINARY, "refused": reason})
        if before is not None and before["sha256"]:
            self._forget_content(execution_id, before["sha256"])

    def list(self, execution_id: str) -> list[dict[str, Any]]:
        return [_shown(row) for row in self._db.execute(_OF, {"execution_id": execution_id})]

    def find(self, execution_id: str, path: str) -> dict[str, Any] | None:
        row = self._db.execute(_ONE, {"execution_id": execution_id, "path": path}).first()
        return _shown(row) if row else None

    def content(self, execution_id: str, sha256: str) -> Path | None:
        """Return the file with a content; None when it is gone."""
        path = self._of(execution_id) / sha256
        return path if path.is_file() else None

    def forget(self, execution_id: str) -> None:
        """Remove the files of an execution that is deleted; its rows go with its own."""
        shutil.rmtree(self._of(execution_id), ignore_errors=True)

    def sweep(self, at: float) -> int:
        """Remove what is older than is kept, and folders that no row names; return how many executions lost files."""
        swept = 0
        if self.keep_days is not None:
            before = at - self.keep_days * 86_400
            with self._db.transaction():
                old = [row[0] for row in self._db.execute(_OLD, {"before": before})]
                self._db.execute(_DROP_OLD, {"before": before})
            for execution_id in old:
                self._tidy(execution_id, at)
            swept = len(old)
        if at - self._looked_at >= YOUNG:
            self._looked_at = at
            known = {self._of(row[0]).name for row in self._db.execute(_OWNERS)}
            with contextlib.suppress(FileNotFoundError):
                for folder in self._folder.iterdir():
                    if folder.name not in known and folder.stat().st_mtime < at - YOUNG:
                        shutil.rmtree(folder, ignore_errors=True)
        return swept

    def _tidy(self, execution_id: str, at: float) -> None:
        """Remove the contents that no row of an execution names any more."""
        wanted = {each["sha256"] for each in self.list(execution_id)}
        with contextlib.suppress(FileNotFoundError):
            for content in self._of(execution_id).iterdir():
                if content.name not in wanted and content.stat().st_mtime < at - YOUNG:
                    content.unlink(missing_ok=True)

    def _of(self, execution_id: str) -> Path:
        return self._folder / hashlib.sha256(execution_id.encode()).hexdigest()[:40]

    def write(self, execution_id: str, data: bytes) -> str:
        """Write a content, from any thread, and return its SHA-256. Raises OSError."""
        digest = hashlib.sha256(data).hexdigest()
        folder = self._of(execution_id)
        for each in (self._folder, folder):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = folder / digest
        if target.is_file():
            target.touch()  # it is young again
            return digest
        descriptor, name = tempfile.mkstemp(dir=folder)  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return digest

    def _forget_content(self, execution_id: str, digest: str) -> None:
        if not self._db.execute(_SAME, {"execution_id": execution_id, "sha256": digest}).scalar():
            (self._of(execution_id) / digest).unlink(missing_ok=True)


def _shown(row: Row[Any]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ("path", *_FIELDS)}
