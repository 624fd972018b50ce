"""This module writes a service's files, each with its mode from the first byte, and finds what it cannot read."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from kubiya_worker.errors import ConfigurationError, NotAllowed
from kubiya_worker.launch.service import credential_of

# Folders that a hardened unit does not see, or sees empty.
HIDDEN_FROM_SYSTEM: Final = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - PrivateTmp
HIDDEN_FROM_USER: Final = ("/tmp", "/var/tmp")  # noqa: S108 - PrivateTmp


def unreachable(paths: Sequence[Path], *, system: bool) -> Path | None:
    """Return the first path that the service could not read: hidden by the unit, or not open to its user."""
    hidden = [Path(place) for place in (HIDDEN_FROM_SYSTEM if system else HIDDEN_FROM_USER)]
    for path in paths:
        for candidate in {path, path.resolve()}:
            if any(candidate.is_relative_to(place) for place in hidden):
                return path
            if system and not all(_open_to_all(part) for part in (candidate, *candidate.parents)):
                return path
    return None


def refuse_unreachable(paths: Sequence[Path], *, system: bool) -> None:
    hidden = unreachable(paths, system=system)
    if hidden:
        raise ConfigurationError(
            f"A hardened service cannot read {hidden}",
            remedy="Install the worker where it can: python3 -m venv /opt/kubiya && "
            f"/opt/kubiya/bin/pip install kubiya-worker{'' if system else ' (anywhere but /tmp)'}",
        )


def write(path: Path, text: str, mode: int) -> None:
    """Write a file as a whole, with this mode from the first byte. Raises ConfigurationError, NotAllowed."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), mode)  # the umask may have removed bits
                file.write(text)
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except PermissionError as error:
        raise NotAllowed(f"This user may not write {path}", remedy="Use sudo, or leave out --system") from error
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}", remedy="Check the folder and the disk"
        ) from error


def write_secrets(folder: Path, secrets: Mapping[str, str]) -> None:
    """Write each secret to its own file, in a folder that only the owner can read. Older secrets there are removed."""
    make(folder, 0o700)
    folder.chmod(0o700)
    wanted = {credential_of(name): value for name, value in secrets.items()}
    for old in folder.iterdir():
        if old.name not in wanted and not old.is_dir():
            old.unlink()
    for name, value in wanted.items():
        write(folder / name, value + "\n", 0o600)


def make(folder: Path, mode: int = 0o755) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=mode, exist_ok=True)
    except PermissionError as error:
        raise NotAllowed(f"This user may not make {folder}", remedy="Use sudo, or leave out --system") from error
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be made: {error.strerror}", remedy="Check the folder above it and the disk"
        ) from error


def _open_to_all(path: Path) -> bool:
    """Return whether every user can pass this directory or read this file."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return bool(mode & (stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH))
