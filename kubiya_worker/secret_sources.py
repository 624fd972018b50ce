"""This module reads secrets from where they are kept outside: variables, files, and Vault or OpenBao.

    env:NAME                the variable NAME
    file:/PATH              a file's content, without the line break at its end
    vault:MOUNT/PATH#FIELD  a field of a secret in a KV store, version 2, of Vault or OpenBao at VAULT_ADDR

A host's administrator names the sources that a process may read. A person who sets a secret over the API is not that
administrator: so `allowed` limits `env:` to variables that begin with KUBIYA_SECRET_, and `file:` to one folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from kubiya_worker.errors import ConfigurationError, Unavailable

PREFIX: Final = "KUBIYA_SECRET_"
FOLDER: Final = "KUBIYA_SECRETS_DIR"
LARGEST: Final = 65_536  # characters
TIMEOUT: Final = (3.05, 10.0)  # seconds to connect, and to read
_CHECK_FILE: Final = "Check its path, owner and mode"
_VAULT: Final = re.compile(r"([A-Za-z0-9._-]+(?:/[A-Za-z0-9._ -]+)*)/([A-Za-z0-9._ -]+)#([^\s#]+)")


class SecretSource(Protocol):
    """A place that keeps secrets. It may block."""

    def check(self, reference: str) -> None:
        """Raise ConfigurationError for a reference that this source does not read, without looking it up."""

    def read(self, reference: str) -> str:
        """Return the secret. Raises ConfigurationError (not there, not allowed) or Unavailable (cannot be asked)."""


class Variables:
    """Variables of this process. With `prefix`, only those whose names begin with it."""

    def __init__(self, environ: Mapping[str, str], prefix: str = "") -> None:
        self._environ, self._prefix = environ, prefix

    def check(self, reference: str) -> None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", reference):
            raise ConfigurationError(
                f"env:{reference} does not name a variable", remedy="Such as env:KUBIYA_SECRET_TICKETS"
            )
        if not reference.startswith(self._prefix):
            raise ConfigurationError(
                f"env:{reference} may not be read", remedy=f"Name a variable that begins with {self._prefix}"
            )

    def read(self, reference: str) -> str:
        self.check(reference)
        variable = self._environ.get(reference)
        if not variable:
            raise ConfigurationError(
                f"The variable {reference} is not set where it is read",
                remedy="Set it in the environment of the program that reads the secret, and restart that program",
            )
        return variable


class Files:
    """Files. With `folder`, only those inside it, wherever a link leads; None allows no file at all."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def check(self, reference: str) -> None:
        self._path(reference)

    def read(self, reference: str) -> str:
        path = self._path(reference)
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                content = file.read(LARGEST + 1).decode()
        except OSError as error:
            raise ConfigurationError(
                f"file:{reference} cannot be read: {error.strerror}", remedy=_CHECK_FILE
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"file:{reference} is not text", remedy="Save it as UTF-8") from error
        if len(content) > LARGEST:
            raise ConfigurationError(
                f"file:{reference} has more than {LARGEST:,} characters",
                remedy="Name a file that holds the secret alone",
            )
        return content.removesuffix("\n").removesuffix("\r")

    def _path(self, reference: str) -> Path:
        if self._folder is None:
            raise ConfigurationError(
                "Files may not be read as secrets here", remedy=f"Set {FOLDER} to the folder that holds secrets"
            )
        path, folder = Path(reference), self._folder.resolve()
        if not path.is_absolute():
            path = folder / path
        path = path.resolve()
        if not path.is_relative_to(folder):
            raise ConfigurationError(f"file:{reference} may not be read", remedy=f"Only files inside {folder} are")
        return path


class Vault:
    """A KV store, version 2, of Vault or OpenBao; the address and the token come from VAULT_* variables."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def check(self, reference: str) -> None:
        if not _VAULT.fullmatch(reference) or ".." in reference.partition("#")[0].split("/"):
            raise ConfigurationError(
                f"vault:{reference} is not vault:MOUNT/PATH#FIELD", remedy="Such as vault:kv/tickets#token"
            )
        if not self._environ.get("VAULT_ADDR"):
            raise ConfigurationError("vault: needs the address of a server", remedy="Set VAULT_ADDR and VAULT_TOKEN")

    def read(self, reference: str) -> str:
        import requests

        self.check(reference)
        place, _, field = reference.partition("#")
        mount, _, path = place.partition("/")
        url = f"{self._environ['VAULT_ADDR'].rstrip('/')}/v1/{quote(mount)}/data/{quote(path)}"
        try:
            answer = requests.get(url, headers=self._headers(), timeout=TIMEOUT, allow_redirects=False)
        except requests.RequestException as error:
            raise Unavailable(
                f"Vault cannot be reached for vault:{reference} ({type(error).__name__})", remedy="Check VAULT_ADDR"
            ) from error
        if answer.status_code == 404:
            raise ConfigurationError(f"vault:{reference} is not there", remedy="Check its mount and its path")
        if answer.status_code in (401, 403):
            raise ConfigurationError(
                f"Vault refuses vault:{reference} ({answer.status_code})", remedy="Check VAULT_TOKEN and its policy"
            )
        if answer.status_code != 200:
            raise Unavailable(
                f"Vault answers {answer.status_code} for vault:{reference}", remedy="Ask the server: vault status"
            )
        secret = _field(answer, field)
        if secret is None:
            raise ConfigurationError(
                f"vault:{reference}: the secret has no field of text with this name", remedy="Check the name after #"
            )
        return secret

    def _headers(self) -> dict[str, str]:
        token, file = self._environ.get("VAULT_TOKEN", ""), self._environ.get("VAULT_TOKEN_FILE", "")
        if not token and file:
            try:
                token = Path(file).expanduser().read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError("The file of VAULT_TOKEN_FILE cannot be read", remedy=_CHECK_FILE) from error
        space = self._environ.get("VAULT_NAMESPACE", "")
        return {"X-Vault-Request": "true", "X-Vault-Token": token, **({"X-Vault-Namespace": space} if space else {})}


def _field(answer: Any, name: str) -> str | None:
    """Return a field of the secret in an answer of KV version 2: {data: {data: {FIELD: TEXT}, metadata: {…}}}."""
    try:
        secret = answer.json()["data"]["data"][name]
    except (ValueError, KeyError, TypeError):
        return None
    return secret if isinstance(secret, str) and secret else None


class Sources:
    """The sources by the word before the colon."""

    def __init__(self, sources: Mapping[str, SecretSource]) -> None:
        self._sources = dict(sources)

    @classmethod
    def allowed(cls, environ: Mapping[str, str]) -> Sources:
        """Return the sources that anybody who may set secrets can name."""
        folder = environ.get(FOLDER, "")
        files = Files(Path(folder).expanduser() if folder else None)
        return cls({"env": Variables(environ, PREFIX), "file": files, "vault": Vault(environ)})

    def check(self, source: str) -> None:
        """Raise ConfigurationError for a source that cannot be read here."""
        kind, reference = self._split(source)
        self._sources[kind].check(reference)

    def read(self, source: str) -> str:
        """Return the secret; blocking. Raises ConfigurationError, Unavailable."""
        kind, reference = self._split(source)
        return self._sources[kind].read(reference)

    def _split(self, source: str) -> tuple[str, str]:
        kind, colon, reference = source.partition(":")
        if not colon or kind not in self._sources or not reference:
            known = ", ".join(f"{name}:" for name in self._sources)
            raise ConfigurationError(f"The source {source[:80]!r} is not known", remedy=f"It begins with {known}")
        return kind, reference
