"""This module keeps paths inside a folder: it opens every component separately, relative to the one before it.

Checking a path and opening it afterwards leaves a moment in which a link can be put in its place. Here a path is walked
with O_NOFOLLOW from a descriptor of the base folder; symbolic links are read and followed by this code, so that each
step is inside or refused (what openat2 with RESOLVE_BENEATH does, but also on macOS, and for absolute links inside).
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

MAX_LINKS: Final = 40  # as the kernel has it
MAX_NAME: Final = 255  # bytes
MAX_PATH: Final = 4096  # bytes
MAX_DEPTH: Final = 128

# Below these the kernel shows itself, other processes and devices, whatever the base folder is.
_KERNEL: Final = ("/proc", "/sys", "/dev")
_OURS: Final = ".kubiya"  # the worker's own files: keys, logs, other executions' workspaces
_PATH_ONLY: Final = getattr(os, "O_PATH", os.O_RDONLY)


class PathRefused(Exception):
    """The path is refused or cannot be used; the message is for the model."""


class Folder:
    """A folder; `base` has all links resolved, and must exist when a path is opened."""

    def __init__(self, base: Path) -> None:
        self.given = base
        self.base = Path(os.path.realpath(base))

    @contextmanager
    def file(self, path: str) -> Iterator[int]:
        """Yield a descriptor of a regular file, for reading."""
        with self._parent(path) as (parent, name, _):
            handle = _open_file(parent, name, path)
            try:
                yield handle
            finally:
                os.close(handle)

    @contextmanager
    def directory(self, path: str) -> Iterator[tuple[int, str]]:
        """Yield a descriptor of a folder for listing, and its path below the base ("" for the base itself)."""
        with self._parent(path) as (parent, name, inside):
            try:
                handle = os.open(
                    name or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent
                )
            except OSError as error:
                raise PathRefused(f"{path or '.'}: {_reason(error)}") from None
            try:
                yield handle, "/".join((*inside, name)) if name else ""
            finally:
                os.close(handle)

    def write(self, path: str, data: bytes, *, overwrite: bool = True) -> str:
        """Put `data` in place of the file at once (a new file, renamed). Return its path below the base."""
        with self._parent(path, create=True) as (parent, name, inside):
            _check_written(path, name, inside)
            old = _regular(parent, name, path)
            if old is not None and not overwrite:
                raise PathRefused(f"{path}: exists already")
            _replace_file(parent, name, path, (data,), old)
            return "/".join((*inside, name))

    def rewrite(self, path: str, change: Callable[[int], Iterable[bytes]]) -> str:
        """Replace the file at once by the output of `change`, which gets a descriptor for reading the old one.

        The pieces are written as they come, so a file may be larger than memory. Return its path below the base.
        """
        with self._parent(path) as (parent, name, inside):
            _check_written(path, name, inside)
            handle = _open_file(parent, name, path)
            try:
                _replace_file(parent, name, path, change(handle), os.fstat(handle))
            finally:
                os.close(handle)
            return "/".join((*inside, name))

    def append(self, path: str, data: bytes) -> tuple[str, int]:
        """Write `data` to the file's end; one that is not there is made. Return its path and its size before."""
        with self._parent(path, create=True) as (parent, name, inside):
            _check_written(path, name, inside)
            _regular(parent, name, path)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            try:
                handle = os.open(name, flags, 0o666, dir_fd=parent)
            except OSError as error:
                raise PathRefused(f"{path}: {_reason(error)}") from None
            with os.fdopen(handle, "wb", closefd=True) as file:
                before = os.fstat(handle)
                if not stat.S_ISREG(before.st_mode):
                    raise PathRefused(f"{path}: is {_kind(before.st_mode)}, not a file")
                file.write(data)
                file.flush()
                os.fsync(handle)
            return "/".join((*inside, name)), before.st_size

    def move(self, path: str, target: str, *, overwrite: bool = False) -> tuple[str, str]:
        """Rename a file, a folder or a link (not what it points to). Return both paths below the base."""
        with (
            self._parent(path, follow=False) as (parent, name, inside),
            self._parent(target, create=True, follow=False) as (target_parent, new, into),
        ):
            _check_written(path, name, inside)
            _check_written(target, new, into)
            _status(parent, name, path)
            old = _entry(target_parent, new)
            if old is not None and not overwrite:
                raise PathRefused(f"{target}: exists already")
            if old is not None and not stat.S_ISREG(old.st_mode):
                raise PathRefused(f"{target}: is {_kind(old.st_mode)}, which is not replaced")
            try:
                os.rename(name, new, src_dir_fd=parent, dst_dir_fd=target_parent)
            except OSError as error:
                raise PathRefused(f"{path}: {_reason(error)}") from None
            return "/".join((*inside, name)), "/".join((*into, new))

    def delete(self, path: str) -> tuple[str, int]:
        """Remove a file, a link (not what it points to) or an empty folder. Return its path and its size in bytes."""
        with self._parent(path, follow=False) as (parent, name, inside):
            _check_written(path, name, inside)
            status = _status(parent, name, path)
            try:
                (os.rmdir if stat.S_ISDIR(status.st_mode) else os.unlink)(name, dir_fd=parent)
            except OSError as error:
                raise PathRefused(f"{path}: {_reason(error)}") from None
            return "/".join((*inside, name)), status.st_size

    def parts(self, path: str) -> list[str]:
        """Return the components of a path relative to the base; raise PathRefused for an invalid path."""
        try:
            raw = os.fsencode(path)
        except UnicodeEncodeError:
            raise PathRefused("The path holds characters that no file name can") from None
        if b"\0" in raw:
            raise PathRefused("The path holds a NUL character")
        if len(raw) > MAX_PATH:
            raise PathRefused(f"The path is longer than {MAX_PATH} bytes")
        if path.startswith("/"):
            for base in (str(self.given), str(self.base)):
                if path == base or path.startswith(f"{base.rstrip('/')}/"):
                    path = path[len(base) :]
                    break
            else:
                raise PathRefused(f"{path}: is outside of the folder {self.given}")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if any(len(os.fsencode(part)) > MAX_NAME for part in parts):
            raise PathRefused(f"A name in the path is longer than {MAX_NAME} bytes")
        if len(parts) > MAX_DEPTH:
            raise PathRefused(f"The path has more than {MAX_DEPTH} folders")
        return parts

    @contextmanager
    def _parent(
        self, path: str, *, create: bool = False, follow: bool = True
    ) -> Iterator[tuple[int, str, tuple[str, ...]]]:
        """Yield a descriptor of the folder that holds the path's last name, that name, and the names before it.

        Links are followed, the last one only with `follow`. The name is "" for the base itself. `create` makes folders
        that are missing.
        """
        pending = self.parts(path)[::-1]
        try:
            # (name, descriptor) from the base down; the base has no name.
            stack = [("", os.open(self.base, _PATH_ONLY | os.O_DIRECTORY | os.O_CLOEXEC))]
        except OSError as error:
            raise PathRefused(f"The folder {self.given}: {_reason(error)}") from None
        links = 0
        last = ""
        try:
            while pending:
                part = pending.pop()
                if part == "..":
                    if len(stack) == 1:
                        raise PathRefused(f"{path}: leads out of the folder {self.given}")
                    os.close(stack.pop()[1])
                    continue
                self._check_name(path, [name for name, _ in stack[1:]], part)
                folder = stack[-1][1]
                target = _link(folder, part) if pending or follow else None
                if target is not None:
                    links += 1
                    if links > MAX_LINKS:
                        raise PathRefused(f"{path}: too many symbolic links")
                    if target.startswith("/"):
                        while len(stack) > 1:
                            os.close(stack.pop()[1])
                    pending += self._link_parts(path, target)[::-1]
                    continue
                if not pending:
                    last = part
                    break
                stack.append((part, _open_folder(folder, part, path, create=create)))
            # The path ended with a `..`, or a link to one: it means the folder that was opened last.
            if not last and len(stack) > 1:
                last, handle = stack.pop()
                os.close(handle)
            yield stack[-1][1], last, tuple(name for name, _ in stack[1:])
        finally:
            for _, handle in stack:
                os.close(handle)

    def _link_parts(self, path: str, target: str) -> list[str]:
        try:
            return self.parts(target)
        except PathRefused:
            raise PathRefused(f"{path}: is a link that leads out of the folder {self.given}") from None

    def _check_name(self, path: str, inside: list[str], name: str) -> None:
        place = str(self.base.joinpath(*inside, name))
        if any(place == root or place.startswith(f"{root}/") for root in _KERNEL):
            raise PathRefused(f"{path}: is part of the kernel's own file systems")
        if name.casefold() == _OURS:
            raise PathRefused(f"{path}: belongs to the worker")


def _check_written(path: str, name: str, inside: tuple[str, ...]) -> None:
    """Refuse a name that must not be made, changed or removed. Raises PathRefused."""
    if any(ord(char) < 32 for char in path):
        raise PathRefused("A file's name must not hold control characters")
    if not name:
        raise PathRefused(f"{path}: is a folder")
    if ".git" in (part.casefold() for part in (*inside, name)):
        raise PathRefused(f"{path}: files of .git can make git run programs and are not written")


def _entry(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _status(parent: int, name: str, path: str) -> os.stat_result:
    """Return the status of the entry under a name; raise PathRefused when there is none."""
    entry = _entry(parent, name)
    if entry is None:
        raise PathRefused(f"{path}: does not exist")
    return entry


def _regular(parent: int, name: str, path: str) -> os.stat_result | None:
    """Return the file of a name, None when there is none. Raises PathRefused for a folder, a link or a device."""
    entry = _entry(parent, name)
    if entry is not None and not stat.S_ISREG(entry.st_mode):
        raise PathRefused(f"{path}: is {_kind(entry.st_mode)}, not a file")
    return entry


def _link(parent: int, name: str) -> str | None:
    """Return the target of a symbolic link; None for any other entry, or none."""
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError:
        return None


def _open_folder(parent: int, name: str, path: str, *, create: bool) -> int:
    flags = _PATH_ONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        if not create:
            raise PathRefused(f"{path}: there is no folder {name}") from None
    except OSError as error:
        raise PathRefused(f"{path}: {_reason(error)}") from None
    try:
        os.mkdir(name, dir_fd=parent)
        return os.open(name, flags, dir_fd=parent)
    except OSError as error:
        raise PathRefused(f"{path}: {_reason(error)}") from None


def _open_file(parent: int, name: str, path: str) -> int:
    """Open without blocking (a FIFO would block), then check the type of the open file, so that no swap is possible."""
    if not name:
        raise PathRefused(f"{path or '.'}: is a folder")
    try:
        before = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISREG(before.st_mode):
            # Opening a device can already do something, so it is not even opened.
            raise PathRefused(f"{path}: is {_kind(before.st_mode)}, not a file")
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        raise PathRefused(f"{path}: {_reason(error)}") from None
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise PathRefused(f"{path}: is {_kind(mode)}, not a file")
    return handle


def _replace_file(parent: int, name: str, path: str, pieces: Iterable[bytes], old: os.stat_result | None) -> None:
    """Write a new file and rename it. Raises PathRefused where the file system refuses."""
    try:
        _replace(parent, name, pieces, old)
    except OSError as error:
        raise PathRefused(f"{path}: {_reason(error)}") from None


def _replace(parent: int, name: str, pieces: Iterable[bytes], old: os.stat_result | None) -> None:
    """Replace the file so that a reader sees the old or the new one, complete, also after a power cut."""
    temporary = f".{secrets.token_hex(8)}.tmp"
    handle = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=parent
    )
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(pieces)
            file.flush()
            if old is not None:
                os.fchmod(handle, stat.S_IMODE(old.st_mode) & 0o777)
                if (old.st_uid, old.st_gid) != (os.getuid(), os.getgid()):
                    try:
                        os.fchown(handle, old.st_uid, old.st_gid)
                    except OSError:
                        pass  # only root may give files away; the content matters more
            os.fsync(handle)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        os.unlink(temporary, dir_fd=parent)
        raise


def _kind(mode: int) -> str:
    for test, text in (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return text
    return "a device"


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, NotADirectoryError):
        return "is not a folder"
    return (error.strerror or type(error).__name__).lower()
