"""The archive: every text is cleaned of secrets, written to a draft, read back and checked before it gets its name."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from kubiya_worker import __version__
from kubiya_worker.errors import ConfigurationError, TemporaryFailure, UsageError, WorkerError
from kubiya_worker.leak_check import leaks, without_leaks
from kubiya_worker.redaction_request import redacted_by
from kubiya_worker.support import secret_patterns
from kubiya_worker.support.bundle_parts import Part, reason
from kubiya_worker.support.known_secrets import Secret
from kubiya_worker.tools.redaction import REDACTED, Redactor

FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MANIFEST: Final = "manifest.json"

Hide = Callable[[str], str]


@dataclass(frozen=True)
class BundleFile:
    """One file of the bundle. `missing` is the reason why it has no content; `size` is in bytes."""

    name: str
    about: str
    text: str
    missing: str = ""

    @property
    def size(self) -> int:
        return len(self.text.encode("utf-8", "replace"))


def secret_remover(secrets: Iterable[Secret], workers: Sequence[str] = ()) -> Hide:
    """Return a function that removes secrets from a text.

    It removes known values, then text that looks like a secret, then lines from which a secret can still be read. Then
    each running worker removes what only it knows; `workers` has their addresses. Raises TemporaryFailure when one
    does not answer.
    """
    values = [secret.value for secret in secrets]
    redactor = Redactor(values)

    def hide(text: str) -> str:
        text = secret_patterns.hide(redactor.text(text))
        text = without_leaks(text, values, REDACTED)
        for address in workers:
            text = redacted_by(address, text)
        return text

    return hide


def members(parts: Iterable[Part], hide: Hide) -> list[BundleFile]:
    """Make each part. A part that fails becomes a member without content. Names are unique."""
    files: list[BundleFile] = []
    names: set[str] = {MANIFEST}
    for part in parts:
        text = missing = ""
        try:
            text = hide(part.make())
        except Exception as error:  # bundles are made when things are broken, so one bad part must not stop the rest
            missing = _hidden(reason(error), hide)
        name = _hidden(part.name, hide)
        while name in names:
            name = f"{name}~"
        names.add(name)
        files.append(BundleFile(name, part.about, text, missing))
    return files


def _hidden(text: str, hide: Hide) -> str:
    try:
        return hide(text)
    except TemporaryFailure:
        return REDACTED


def manifest(files: Sequence[BundleFile], hide: Hide, secrets: int) -> BundleFile:
    """Return the list of the bundle's files and of missing ones; `secrets` is the number of values searched for."""
    facts: dict[str, Any] = {
        "made_at": datetime.now(UTC).isoformat(),
        "kubiya_worker": __version__,
        "secrets_looked_for": secrets,
        "redacted": sum(member.text.count(REDACTED) for member in files),
        "files": [{"name": m.name, "about": m.about, "bytes": m.size} for m in files if not m.missing],
        "not_there": [{"name": m.name, "why": m.missing} for m in files if m.missing],
    }
    return BundleFile(MANIFEST, "this list", hide(json.dumps(facts, indent=1, ensure_ascii=False) + "\n"))


def output_path(output: str | None, queue: str | None) -> Path:
    """Return the path of the bundle. Raises UsageError when it exists already."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    name = f"kubiya-support{f'-{queue}' if queue else ''}-{stamp}.tar.gz"
    path = Path(output).expanduser() if output else Path(name)
    if path.is_dir():
        path = path / name
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path} is there already", remedy="Name another file with --output")
    return path


def write(path: Path, packed: Sequence[BundleFile], secrets: Sequence[Secret]) -> int:
    """Write the bundle and return its size in bytes.

    The file gets its name only after it was read back and found free of secrets. Raises ConfigurationError when it
    cannot be written there, TemporaryFailure when the disk is full, WorkerError when a secret is in it; then no file is
    left.
    """
    if path.exists() and not path.is_file():  # a rename onto /dev/null would take it from the whole host
        raise ConfigurationError(f"{path} is no regular file", remedy="Name a file for the bundle")
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(descriptor, "w+b") as file:
            _pack(file, packed)
            file.flush()
            os.fsync(file.fileno())
            _check(file, secrets)
            size = file.seek(0, os.SEEK_END)
        draft.replace(path)
        return size
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _pack(file: Any, packed: Sequence[BundleFile]) -> None:
    # No file name in gzip's header and no user names in tar's: they could tell something private.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=file) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for member in packed:
            if member.missing:
                continue
            content = member.text.encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"kubiya-support/{member.name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
            tar.addfile(entry, io.BytesIO(content))


def _check(file: Any, secrets: Sequence[Secret]) -> None:
    """Read the archive as a stranger would. Raises WorkerError that names the file and the source of a secret in it."""
    file.seek(0)
    values = [secret.value for secret in secrets]
    with tarfile.open(fileobj=file, mode="r:gz") as tar:
        for entry in tar:
            stream = tar.extractfile(entry)
            content = entry.name.encode() + b"\n" + (stream.read() if stream else b"")
            for position in leaks(content, values):
                raise WorkerError(
                    f"The bundle was discarded: {_name(entry.name, values)} held a secret ({secrets[position].source})",
                    remedy="Please report this; kubiya worker status --json and logs work as before",
                )


def _name(name: str, values: Sequence[str]) -> str:
    return "a file's name" if leaks(name.encode(), values) else name.removeprefix("kubiya-support/")


def _unwritable(path: Path, error: OSError) -> WorkerError:
    if error.errno in FULL:
        return TemporaryFailure(
            f"The bundle does not fit at {path}: {error.strerror}", remedy="Free some space, or name another --output"
        )
    return ConfigurationError(f"{path} cannot be written: {error.strerror or error}", remedy="Name another --output")
