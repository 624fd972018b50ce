"""This module keeps the sessions of browsers.

A person signs in once, and from then on a cookie that scripts cannot read stands for that person. Only the hash of a
cookie is stored. A session that a key began lives no longer than the key: it ends when the key is revoked. A write that
a cookie authenticates also needs the session's CSRF token, which only the page itself can read.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select
from starlette.requests import Request
from starlette.responses import Response

from kubiya_worker.server.auth import Caller, Keys, hashed, key_id_of
from kubiya_worker.server.person import of_person
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps
from kubiya_worker.server.store.journal import Change
from kubiya_worker.server.store.statement import Prepared

LONGEST: Final = 12 * 3600  # seconds after which a person signs in again
CSRF_HEADER: Final = "x-csrf-token"
T: Final = schema.browser_sessions
_FIND: Final = Prepared(select(T).where(T.c.hash == bindparam("hash")))


def cookie_of(request: Request) -> str:
    """Return the cookie's name: with the port, because browsers send the cookies of one port to all ports of a host."""
    return f"kubiya_session_{request.url.port or 0}"


def csrf_of(token: str) -> str:
    """Return the CSRF token of a session; it says nothing about the cookie."""
    return hmac.new(token.encode(), b"csrf", hashlib.sha256).hexdigest()


def set_cookie(response: Response, request: Request, token: str | None, *, secure: bool = False) -> None:
    """Set the cookie, or delete it without a token. It is for TLS only where the browser came by TLS."""
    secure = secure or request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
    about: dict[str, Any] = {"httponly": True, "samesite": "strict", "secure": secure, "path": "/"}
    response.set_cookie(cookie_of(request), token or "", max_age=LONGEST if token else 0, **about)


def own_origin(request: Request) -> bool:
    """Return whether a browser says that this page sent the request; other programs say nothing."""
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host", "")


class Sessions:
    def __init__(self, database: Database, keys: Keys) -> None:
        self._db, self._keys = database, keys

    def begin(self, caller: Caller, *, key: str = "", about: dict[str, Any] | None = None) -> str:
        """Begin a session and return its cookie.

        It is that of a key's person (`key`), or of one whom an identity provider named (`about`: {name, email, role,
        groups}).
        """
        token, now = secrets.token_urlsafe(32), time.time()
        row = {
            "hash": hashed(token),
            "organization_id": caller.organization_id,
            "person_id": caller.person.id,
            "key_hash": hashed(key) if key else None,
            "data": dumps(about or {}),
            "expires_at": now + LONGEST,
        }
        with self._db.transaction():
            self._db.execute(delete(T).where(T.c.expires_at <= now))
            self._db.execute(insert(T), row)
            self._record(caller, hashed(token), "begin")
        return token

    def caller(self, token: str, address: str) -> Caller | None:
        """Return whom a cookie stands for now; None when the session has ended, or its key has."""
        row = self._db.execute(_FIND, {"hash": hashed(token)}).first() if token else None
        if row is None or row.expires_at <= time.time():
            return None
        if row.key_hash is not None:
            return self._keys.caller_of(row.key_hash, address)
        return Caller(row.organization_id, of_person(json.loads(row.data)).at(address))

    def end(self, caller: Caller, token: str) -> None:
        with self._db.transaction():
            if self._db.execute(delete(T).where(T.c.hash == hashed(token))).rowcount:
                self._record(caller, hashed(token), "end")

    def end_all(self, caller: Caller) -> int:
        """End every session of a person, in all browsers; return how many there were."""
        mine = (T.c.organization_id == caller.organization_id) & (T.c.person_id == caller.person.id)
        with self._db.transaction():
            ended = int(self._db.execute(delete(T).where(mine)).rowcount)
            self._record(caller, caller.person.id, "end_all")
        return ended

    def _record(self, caller: Caller, digest: str, verb: str) -> None:
        """Have a sign-in or its end recorded; the record says who, with which key and from where."""
        about = {"role": caller.person.role, "groups": list(caller.person.groups)}
        self._db.changed(
            Change(caller.organization_id, "session", key_id_of(digest), caller.person.name, None, about, verb)
        )
