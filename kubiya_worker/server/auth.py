"""This module manages API keys: random, shown once, stored as hashes. Each belongs to an organization."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import Any, Final

from sqlalchemy import insert, select

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, now

ORGANIZATION: Final = "local"
_KEY: Final = re.compile(r"kby_[A-Za-z0-9_-]{43,}")  # 256 random bits


def hashed(key: str) -> str:
    """Return the key's SHA-256; a slow hash would add nothing, because 256 random bits cannot be guessed."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


class Keys:
    def __init__(self, database: Database) -> None:
        self._db = database
        self._known: dict[str, str] = {}

    def organization(self, key: str) -> str | None:
        """Return the organization of a key, or None when the key is unknown."""
        if not key:
            return None
        digest = hashed(key)
        if digest not in self._known:
            query = select(schema.api_keys.c.organization_id).where(schema.api_keys.c.hash == digest)
            found = self._db.execute(query).scalar()
            if found is None:
                return None
            self._known[digest] = found
        return self._known[digest]

    def about(self, key: str) -> dict[str, Any]:
        """Return the public facts about a key; a key may do everything in its organization."""
        digest = hashed(key)
        made = self._db.execute(select(schema.api_keys.c.created_at).where(schema.api_keys.c.hash == digest)).scalar()
        return {"id": digest[:12], "created_at": made, "expires_at": None, "scopes": ["*"]}

    def any(self) -> bool:
        return self._db.execute(select(schema.api_keys.c.hash).limit(1)).first() is not None

    def create(self, organization_id: str = ORGANIZATION, key: str | None = None) -> str:
        """Create a key, or register the given one; only its hash is stored."""
        key = key or f"kby_{secrets.token_urlsafe(32)}"
        row = {"hash": hashed(key), "organization_id": organization_id, "created_at": now()}
        with self._db.transaction():
            self._db.execute(insert(schema.api_keys).prefix_with("OR IGNORE"), row)
        return key


def ensure_key_file(keys: Keys, path: Path, organization_id: str = ORGANIZATION) -> None:
    """Make sure that a file (0600) holds a key that this database knows; create the key when there is no file.

    Raises ConfigurationError when the file holds something else, or cannot be read or written.
    """
    try:
        key = path.read_text().strip() if path.exists() else ""
        if key and not _KEY.fullmatch(key):
            raise ConfigurationError(
                f"The file {path} does not hold an API key of a local control plane",
                remedy="Name another file with --key-file, or remove it",
            )
        if key:
            path.chmod(0o600)
            if keys.organization(key) is None:
                keys.create(organization_id, key)
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(keys.create(organization_id) + "\n")
        draft.replace(path)
    except OSError as error:
        raise ConfigurationError(
            f"The key file {path} cannot be used: {error.strerror}", remedy="Check the folder and its rights"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"The file {path} does not hold an API key", remedy="Name another file with --key-file"
        ) from error
