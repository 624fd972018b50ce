"""This module seals texts for the database with AES-256-GCM, so that its file shows nothing of them.

The key comes through one small port, `KeySource`: a file beside the database (made at the first use, mode 0600), or a
command that prints it, which is how a KMS is asked. The key is read when something is sealed or opened first.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import shlex
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.private_file import open_to_others

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

LENGTH: Final = 32  # bytes: AES-256
NONCE: Final = 12  # bytes; at random: one key is good for 2**32 texts (NIST SP 800-38D)
FORMAT: Final = "sealed1"
COMMAND_SECONDS: Final = 30.0
MARK: Final = b"the key of this database's secrets"
MAKE: Final = "openssl rand -base64 32"
_BY_HAND: Final = "Run it by hand: it has to print the key in base64, and end with 0"


class KeySource(Protocol):
    """A source of the key that seals; `name` says in errors where the key comes from."""

    name: str

    def read(self) -> bytes:
        """Return the 32 bytes. Raises ConfigurationError, which never quotes what was read."""


class KeyFile:
    """A file of the key in base64. It is made when it is missing, unless something was sealed with it before."""

    def __init__(self, path: Path, used_before: Callable[[], bool] = lambda: False) -> None:
        self.path, self.name = path, str(path)
        self._used_before = used_before

    def read(self) -> bytes:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return self._make()
        except OSError as error:
            raise self._unusable(error) from error
        with os.fdopen(descriptor, "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise ConfigurationError(
                    f"The key of the secrets {self.path} is not a file", remedy="Name a file with --secrets-key-file"
                )
            if open_to_others(about):
                raise ConfigurationError(
                    f"The key of the secrets {self.path} is open to others (mode {stat.S_IMODE(about.st_mode):04o})",
                    remedy=f"chmod 600 {self.path}",
                )
            return decoded(file.read(1024), self.name)

    def _make(self) -> bytes:
        if self._used_before():
            raise ConfigurationError(
                f"The key of the secrets {self.path} is missing, and secrets were stored with it",
                remedy="Put the file back from its backup; without it, set those secrets again: kubiya secrets set",
            )
        key = os.urandom(LENGTH)
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(base64.b64encode(key) + b"\n")
                file.flush()
                os.fsync(file.fileno())  # else a power cut could lose the key of values that are on the disk
            draft.replace(self.path)
        except OSError as error:
            raise self._unusable(error) from error
        return key

    def _unusable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(
            f"The key of the secrets {self.path} cannot be used: {error.strerror}",
            remedy="Check the folder and its rights, or name another file with --secrets-key-file",
        )


class KeyCommand:
    """A command that prints the key in base64: the hook for a KMS. No shell reads it."""

    def __init__(self, command: str) -> None:
        try:
            self._argv = shlex.split(command)
        except ValueError as error:
            raise ConfigurationError(
                f"--secrets-key-command cannot be read: {error}", remedy="Quote its words as for a shell"
            ) from error
        self.name = f"the command {self._argv[0] if self._argv else ''!r} of --secrets-key-command"

    def read(self) -> bytes:
        try:
            # Its stderr is shown nowhere: a program that fails may print what it was given.
            finished = subprocess.run(self._argv, capture_output=True, timeout=COMMAND_SECONDS, check=False)
        except (OSError, IndexError, subprocess.TimeoutExpired) as error:
            why = "it took too long" if isinstance(error, subprocess.TimeoutExpired) else "it cannot be started"
            raise ConfigurationError(f"{self.name} gives no key: {why}", remedy=_BY_HAND) from error
        if finished.returncode:
            raise ConfigurationError(f"{self.name} gives no key: it ended with {finished.returncode}", remedy=_BY_HAND)
        return decoded(finished.stdout, self.name)


class KeyInMemory:
    """A key that ends with the process, for a database in memory."""

    name = "memory"

    def __init__(self) -> None:
        self._key = os.urandom(LENGTH)

    def read(self) -> bytes:
        return self._key


class NoKey:
    """No key: where several servers share a database, each making one of its own would seal what others cannot open."""

    name = "no key"

    def read(self) -> bytes:
        raise ConfigurationError(
            "The key that seals secrets is not named", remedy="Use --secrets-key-file or --secrets-key-command"
        )


def decoded(text: bytes, where: str) -> bytes:
    """Return the 32 bytes of a key in base64; raise ConfigurationError for any other content."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != LENGTH:
        raise ConfigurationError(f"{where} is not a key: {LENGTH} bytes in base64", remedy=f"Make one: {MAKE}")
    return key


class Seal:
    """A seal of texts. Each text is bound to its place: one that was moved to another row cannot be opened there."""

    def __init__(self, source: KeySource) -> None:
        self._source = source
        self._opened: tuple[str, AESGCM] | None = None
        self.name = source.name

    def close(self, text: str, place: str) -> str:
        """Return the sealed text for `place`, such as `secret:ORGANIZATION:NAME`. Raises ConfigurationError."""
        key_id, cipher = self._cipher()
        nonce = os.urandom(NONCE)
        sealed = cipher.encrypt(nonce, text.encode("utf-8", "surrogatepass"), place.encode())
        return f"{FORMAT}:{key_id}:{base64.b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, place: str) -> str:
        """Return the text. Raises ConfigurationError for another key, another place, or a changed text."""
        from cryptography.exceptions import InvalidTag

        form, _, rest = sealed.partition(":")
        sealed_with, _, body = rest.partition(":")
        key_id, cipher = self._cipher()
        if form != FORMAT:
            raise ConfigurationError(
                f"What is stored for {place} is not sealed, or by a later version",
                remedy="Start the version that stored it, or set the secret again",
            )
        if sealed_with != key_id:
            raise ConfigurationError(
                f"What is stored for {place} was sealed with the key {sealed_with}; {self._source.name} is {key_id}",
                remedy="Put that key back, or set the secret again",
            )
        raw = base64.b64decode(body)
        try:
            return cipher.decrypt(raw[:NONCE], raw[NONCE:], place.encode()).decode("utf-8", "surrogatepass")
        except InvalidTag as error:
            raise ConfigurationError(
                f"What is stored for {place} was changed by somebody else", remedy="Set the secret again"
            ) from error

    def mark(self) -> str:
        """Return what tells this key from others, and nothing about it. Raises ConfigurationError."""
        return hmac.digest(self._source.read(), MARK, "sha256").hex()

    def _cipher(self) -> tuple[str, AESGCM]:
        if self._opened is None:
            try:
                from cryptography.hazmat.primitives.ciphers.aead import AESGCM
            except ImportError as error:
                raise ConfigurationError(
                    "The package that encrypts secrets is not installed", remedy="pip install 'kubiya-worker[server]'"
                ) from error
            key = self._source.read()
            self._opened = hashlib.sha256(key).hexdigest()[:12], AESGCM(key)
        return self._opened


def is_sealed(text: str) -> bool:
    return text.startswith(f"{FORMAT}:")
