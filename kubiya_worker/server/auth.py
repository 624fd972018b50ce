"""API keys: random, shown once, stored as hashes."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from sqlalchemy import insert, select

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, now

ORGANIZATION = "local"


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


class Keys:
    def __init__(self, database: Database) -> None:
        self._db = database
        self._known: dict[str, str] = {}

    def organization(self, key: str) -> str | None:
        """Whose key this is; None when it is nobody's."""
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

    def create(self, organization_id: str = ORGANIZATION, key: str | None = None) -> str:
        key = key or f"kby_{secrets.token_urlsafe(32)}"
        row = {"hash": hashed(key), "organization_id": organization_id, "created_at": now()}
        self._db.execute(insert(schema.api_keys).prefix_with("OR IGNORE"), row)
        self._db.commit()
        return key


def ensure_key_file(keys: Keys, path: Path) -> str:
    """The key in the file (0600), made if there is none; one that this database does not know is taken up."""
    try:
        key = path.read_text().strip() if path.exists() else ""
        if key and keys.organization(key) is None:
            keys.create(key=key)
        if not key:
            key = keys.create()
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = path.with_name(f"{path.name}.{os.getpid()}")
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(key + "\n")
            draft.replace(path)
    except OSError as error:
        raise ConfigurationError(f"The key file {path} cannot be used: {error}") from error
    return key
