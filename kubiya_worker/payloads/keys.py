"""Keys of payloads: a file with one key a line, `ID BASE64`, for its owner alone. The first encrypts, all decrypt.

Rotation is two steps: add the new key as the second line everywhere; once every reader has it, move it to the top.
Remove an old key when Temporal keeps no more payloads that were encrypted with it (after the namespace's retention).
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.private_file import open_to_others

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

LENGTH: Final = 32  # bytes: AES-256
LONGEST_FILE: Final = 65_536  # bytes
MAKE: Final = "openssl rand -base64 32"
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Key:
    id: str
    secret: bytes = field(repr=False)


class UnknownKey(ConfigurationError):
    """A payload is encrypted with a key that this process does not have."""


class KeyRing:
    """The keys of a file. It is read again when a payload names an unknown key and the file has changed."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises ConfigurationError: no such file, readable by others, an invalid key, `cryptography` missing.
        """
        self.path = path
        self._cipher = _cipher()
        self._ciphers: dict[str, AESGCM] = {}
        self._file_version: tuple[int, int] | None = None
        self._load()

    def _load(self) -> None:
        text, version = _read(self.path)
        keys = parse(text, str(self.path))
        self.text, self._file_version = text, version
        self._ciphers = {key.id: self._cipher(key.secret) for key in keys}

    @property
    def first(self) -> tuple[str, AESGCM]:
        """Return the key that encrypts, with its id."""
        return next(iter(self._ciphers.items()))

    @property
    def texts(self) -> tuple[str, ...]:
        """Return the keys as they are written in the file: values that must not leave the process."""
        lines = (line.split() for line in self.text.splitlines())
        return tuple(words[1] for words in lines if len(words) == 2 and not words[0].startswith("#"))

    def has(self, id: str) -> bool:
        return id in self._ciphers

    def find(self, id: str) -> AESGCM:
        """Return the key with this id. Raises UnknownKey."""
        if id not in self._ciphers and self._changed():
            try:
                self._load()
            except ConfigurationError as error:  # the file may be half edited: keep using the old keys
                raise UnknownKey(error.message, remedy=error.remedy) from error
        if id not in self._ciphers:
            raise UnknownKey(
                f"A payload is encrypted with the key {id!r}, which is not in {self.path}",
                remedy="Add that key's line to the file",
            )
        return self._ciphers[id]

    def _changed(self) -> bool:
        try:
            about = self.path.stat()
        except OSError:
            return False
        return (about.st_mtime_ns, about.st_size) != self._file_version


def parse(text: str, where: str) -> list[Key]:
    """Return the keys of a file's text, in order. Raises ConfigurationError that names the line, never its content."""
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        place = f"{where}:{number}"
        if len(words) != 2 or not _ID.fullmatch(words[0]):
            raise ConfigurationError(f"{place} is not 'ID BASE64'", remedy=f'Such as: echo "2026-11 $({MAKE})"')
        secret = _decoded(words[1])
        if secret is None or len(secret) != LENGTH:
            fault = "no base64" if secret is None else f"{len(secret)} bytes"
            raise ConfigurationError(
                f"{place}: the key {words[0]!r} is {fault}, not {LENGTH} bytes in base64", remedy=f"Make one: {MAKE}"
            )
        if any(key.id == words[0] for key in keys):
            raise ConfigurationError(f"{place}: a second key has the id {words[0]!r}", remedy="Give each its own id")
        keys.append(Key(words[0], secret))
    if not keys:
        raise ConfigurationError(f"{where} holds no key", remedy=f'Add one: echo "2026-11 $({MAKE})"')
    return keys


def _decoded(word: str) -> bytes | None:
    try:
        return base64.b64decode(word.translate(str.maketrans("-_", "+/")), validate=True)
    except (binascii.Error, ValueError):
        return None


def _read(path: Path) -> tuple[str, tuple[int, int]]:
    """Return the text, and a mark that differs when the file has changed. Both come from one open file."""
    try:
        # Non-blocking, so that a FIFO of that name does not hold the start.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise ConfigurationError(
                    f"The file of payload keys {path} is not a file", remedy="Check KUBIYA_PAYLOAD_KEYS_FILE"
                )
            _check_mode(path, about)
            return file.read(LONGEST_FILE).decode(), (about.st_mtime_ns, about.st_size)
    except OSError as error:
        raise ConfigurationError(
            f"The file of payload keys {path} cannot be read: {error.strerror}", remedy="Check KUBIYA_PAYLOAD_KEYS_FILE"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"The file of payload keys {path} is not text", remedy="Check KUBIYA_PAYLOAD_KEYS_FILE"
        ) from error


def _check_mode(path: Path, status: os.stat_result) -> None:
    if open_to_others(status):
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigurationError(
            f"The file of payload keys {path} is open to others (mode {mode:04o})", remedy=f"chmod 600 {path}"
        )


def _cipher() -> type[AESGCM]:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ConfigurationError(
            "Payload keys are configured, and the package that encrypts is not installed",
            remedy="pip install 'kubiya-worker[encryption]'",
        ) from error
    return AESGCM
