"""This module manages API keys: random, shown once, stored as hashes. Each belongs to an organization."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import bindparam, func, select, update

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.event_log import EventLogger
from kubiya_worker.private_file import open_to_others
from kubiya_worker.server.person import Person, of_key
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps, now
from kubiya_worker.server.store.journal import Change
from kubiya_worker.server.store.portable import add_once
from kubiya_worker.server.store.statement import Prepared

log = EventLogger(__name__)

ORGANIZATION: Final = "local"
T: Final = schema.api_keys
_FIND: Final = Prepared(select(T).where(T.c.hash == bindparam("hash")))
_ADD: Final = add_once(T, ("hash", "organization_id", "created_at", "data", "expires_at"))
TOLD: Final = ("name", "email", "role", "groups", "scopes", "status", "expires_at")  # of a key, by a record
ID: Final = 12  # characters of a hash that name its key
FRESH: Final = 2.0  # seconds in which a key that another server revokes may still count here, if its word is lost
MOST: Final = 1_000  # keys that are kept in memory, each with the addresses that it comes from
_KEY: Final = re.compile(r"kby_[A-Za-z0-9_-]{43,}")  # 256 random bits


def hashed(key: str) -> str:
    """Return the key's SHA-256; a slow hash would add nothing, because 256 random bits cannot be guessed."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def key_id_of(digest: str) -> str:
    """Return the public name of a key."""
    return digest[:ID]


@dataclass(frozen=True)
class Caller:
    """The organization that a request is for, and the person who asks."""

    organization_id: str
    person: Person


class Keys:
    def __init__(self, database: Database) -> None:
        self._db = database
        self._used: dict[str, float] = {}  # by hash: seconds since the epoch, not written yet
        self._known: dict[tuple[str, str], tuple[Caller, float | None, float]] = {}  # until when it counts, when read
        self._rollbacks = database.rollbacks
        self.told: Callable[[], None] | None = None  # set where other servers keep keys in memory, too

    def caller(self, key: str, address: str = "") -> Caller | None:
        """Return whom a key stands for now; None when it is unknown, revoked or expired."""
        return self.caller_of(hashed(key), address) if key else None

    def caller_of(self, digest: str, address: str = "") -> Caller | None:
        """Return whom the key with this hash stands for now.

        A key that is valid is looked up once in FRESH seconds, and anew after a change of any key here, or of one
        elsewhere of which this server hears.
        """
        if self._rollbacks != self._db.rollbacks:
            self.forget()  # what was read in a transaction that failed may not be stored
        now, asked = time.time(), time.monotonic()
        known = self._known.get((digest, address))
        if known is None or asked - known[2] > FRESH:
            row = self._db.execute(_FIND, {"hash": digest}).first()
            if row is None or row.revoked_at is not None:
                return None
            caller = Caller(row.organization_id, of_key(key_id_of(digest), json.loads(row.data)).at(address))
            if len(self._known) >= MOST:
                self._known.clear()
            known = self._known[digest, address] = (caller, row.expires_at, asked)
        caller, expires_at, _ = known
        if expires_at is not None and expires_at <= now:
            return None
        self._used[digest] = now
        return caller

    def forget(self) -> None:
        """Look up each key anew: one was changed or revoked."""
        self._known.clear()
        self._rollbacks = self._db.rollbacks

    def _changed(self) -> None:
        self.forget()
        if self.told is not None:
            self.told()

    def about(self, key_id: str) -> dict[str, Any]:
        """Return the public facts about a key, for the one who holds it; none for an empty id."""
        row = self._db.execute(select(T).where(_named(key_id))).first() if key_id else None
        if row is None:
            return {}
        shown = self._shown(row)
        limits = [f"{kind[:-1]}:{name}" for kind, names in shown["scopes"].items() for name in names or ()]
        return {**{k: shown[k] for k in ("id", "created_at", "expires_at", "role")}, "scopes": limits or ["*"]}

    def trace(self, key: str) -> tuple[str, str]:
        """Return what a record says of a key that was refused: the organization that has or had it, and its id."""
        digest = hashed(key)
        row = self._db.execute(_FIND, {"hash": digest}).first() if key else None
        return row.organization_id if row is not None else ORGANIZATION, key_id_of(digest) if key else ""

    def create(
        self,
        organization_id: str = ORGANIZATION,
        key: str | None = None,
        *,
        about: dict[str, Any] | None = None,
        expires_at: float | None = None,
    ) -> str:
        """Create a key, or register the given one; only its hash is stored.

        `about` is the person, {name, email, role, groups, scopes, created_by}; without it the key is the local user's.
        """
        key = key or f"kby_{secrets.token_urlsafe(32)}"
        row = {
            "hash": hashed(key),
            "organization_id": organization_id,
            "created_at": now(),
            "data": dumps(about or {}),
            "expires_at": expires_at,
        }
        with self._db.transaction():
            if self._db.execute(_ADD, row).rowcount:
                self._record_change(hashed(key), None)
        return key

    def known(self, key: str) -> bool:
        """Return whether the key was ever registered here, also when it has ended since."""
        return self._db.execute(_FIND, {"hash": hashed(key)}).first() is not None

    def persons(self, organization_id: str, email: str) -> list[Person]:
        """Return the person with this e-mail as each of their valid keys has them: role, groups, limits."""
        query = select(T).where(T.c.organization_id == organization_id, T.c.revoked_at.is_(None))
        query = query.where(T.c.expires_at.is_(None) | (T.c.expires_at > time.time())).order_by(T.c.created_at)
        persons = [of_key(key_id_of(row.hash), json.loads(row.data)) for row in self._db.execute(query)]
        return [person for person in persons if person.email.lower() == email.lower()]

    def list(self, organization_id: str) -> list[dict[str, Any]]:
        """Return all keys as they are shown, oldest first, without anything that could be used as a key."""
        query = select(T).where(T.c.organization_id == organization_id).order_by(T.c.created_at)
        return [self._shown(row) for row in self._db.execute(query)]

    def find(self, organization_id: str, key_id: str) -> dict[str, Any] | None:
        query = select(T).where(T.c.organization_id == organization_id, _named(key_id))
        row = self._db.execute(query).first()
        return self._shown(row) if row else None

    def revoke(self, organization_id: str, key_id: str) -> None:
        """End a key: the next request with it is refused. The row stays, so that old names can be explained."""
        mine = (T.c.organization_id == organization_id) & _named(key_id) & T.c.revoked_at.is_(None)
        with self._db.transaction():
            rows = self._db.execute(select(T).where(mine)).all()
            self._db.execute(update(T).where(mine).values(revoked_at=now()))
            for row in rows:
                self._record_change(row.hash, self._shown(row))
        self._changed()

    def change(self, organization_id: str, key_id: str, changes: dict[str, Any]) -> None:
        """Change fields of a key's person, and `expires_at` (seconds since the epoch; None for no end)."""
        mine = (T.c.organization_id == organization_id) & _named(key_id) & T.c.revoked_at.is_(None)
        with self._db.transaction():
            for row in self._db.execute(select(T).where(mine)).all():
                about = {**json.loads(row.data), **{k: v for k, v in changes.items() if k != "expires_at"}}
                values = {"data": dumps(about), "expires_at": changes.get("expires_at", row.expires_at)}
                self._db.execute(update(T).where(T.c.hash == row.hash).values(values))
                self._record_change(row.hash, self._shown(row), "update")
        self._changed()

    def store_uses(self) -> None:
        """Write when keys were last used. This is called once a minute, so that no request waits for it."""
        used, self._used = self._used, {}
        if used:
            with self._db.transaction():
                for digest, at in used.items():
                    older = (T.c.used_at.is_(None)) | (T.c.used_at < at)  # another server may have seen it later
                    self._db.execute(update(T).where(T.c.hash == digest, older).values(used_at=at))

    def _record_change(self, digest: str, before: dict[str, Any] | None, verb: str = "") -> None:
        """Have a key's creation, change or end recorded, with its person and role."""
        row = self._db.execute(_FIND, {"hash": digest}).first()
        after = self._shown(row)
        sides = (None if before is None else {k: before[k] for k in TOLD}, {k: after[k] for k in TOLD})
        verb = verb or ("create" if before is None else "revoke")
        self._db.changed(Change(row.organization_id, "key", key_id_of(digest), after["name"], *sides, verb))

    def _shown(self, row: Any) -> dict[str, Any]:
        person = of_key(key_id_of(row.hash), json.loads(row.data))
        used = self._used.get(row.hash, row.used_at)
        ended = row.expires_at is not None and row.expires_at <= time.time()
        return {
            "id": person.key_id,
            "name": person.name,
            "email": person.email,
            "role": person.role,
            "groups": list(person.groups),
            "scopes": person.scope.json(),
            "status": "revoked" if row.revoked_at else "expired" if ended else "active",
            "created_at": row.created_at,
            "created_by": json.loads(row.data).get("created_by"),
            "expires_at": _iso(row.expires_at),
            "last_used_at": _iso(used),
            "revoked_at": row.revoked_at,
        }


def _named(key_id: str) -> Any:
    return func.substr(T.c.hash, 1, ID) == key_id


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()


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
            if open_to_others(path.stat()):
                path.chmod(0o600)
            if not keys.known(key):
                keys.create(organization_id, key)
            elif keys.caller(key) is None:
                log.warning(
                    "key_file.ended",
                    path=path,
                    error="its key was revoked or has expired",
                    remedy="remove the file; the next start makes a new key",
                )
            return
        if path.exists() and not path.is_file():  # a rename onto /dev/null would take it from the whole host
            raise ConfigurationError(f"{path} is no regular file", remedy="Name another file with --key-file")
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
