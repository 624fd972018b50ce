"""Replace, read and remove small files that other processes may read, replace or remove at the same time."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600
MOST_READ: Final = 1 << 20  # bytes of a small file that somebody else may have put there

Stamp = tuple[int, int, int, int]


def check_replaceable(path: Path) -> None:
    """Raise OSError for what is no regular file, such as /dev/null: renaming onto a device takes it from everybody.

    What is not there may be made, and a symbolic link may be replaced.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        raise FileExistsError(errno.EEXIST, "It is a device, a pipe or a socket, and no regular file", str(path))


def replace(path: Path, content: str | bytes, mode: int = PRIVATE) -> None:
    """Replace a file as a whole, so that no reader sees a part of it. Raises OSError, as on a full disk.

    The file has `mode`, less the umask, from its first byte. After an error the old file is still there, and no draft.
    """
    check_replaceable(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(draft, flags, mode), "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        draft.replace(path)
    except OSError:
        try:
            draft.unlink(missing_ok=True)
        except OSError:
            pass  # the folder is gone, and the draft with it
        raise


def read(path: Path) -> bytes:
    """Return the beginning of a small file; empty when there is no plain file. Never waits, as a named pipe would."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, MOST_READ)
    except OSError:
        return b""  # a folder, or a disk with an error
    finally:
        os.close(descriptor)


def stamp(path: str | Path) -> Stamp | None:
    """Return what changes whenever the file is written or replaced; None when there is none.

    The inode alone does not tell: file systems give the number of a removed file to the next one.
    """
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def is_at(descriptor: int, path: str | Path) -> bool:
    """Return whether the open file still has this name."""
    now, mine = stamp(path), os.fstat(descriptor)
    return now is not None and now[:2] == (mine.st_dev, mine.st_ino)


def remove_own(path: str | Path, own: Stamp | None) -> None:
    """Remove the file unless it is another one by now. Errors are ignored: the folder may be gone."""
    if own is not None and stamp(path) == own:
        try:
            Path(path).unlink()
        except OSError:
            pass
