"""This module stores the tokens by which people answer a request from a message; only their hashes are kept."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import delete, insert, select, update

from kubiya_worker.protocol.messages import arguments_hash
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.approvals import Approval
from kubiya_worker.server.store.database import Database

T: Final = schema.answer_tokens


@dataclass(frozen=True)
class AnswerToken:
    """A token stands for one request with exactly its arguments, and for a person's e-mail if it has one."""

    hash: str
    organization_id: str
    approval_id: str
    notification_id: str
    arguments_hash: str
    person: str | None
    expires_at: float  # seconds since the epoch
    used_at: float | None  # seconds since the epoch

    def fits(self, approval: Approval) -> bool:
        """Return whether the request asks for what it asked for when the token was made."""
        return secrets.compare_digest(self.arguments_hash, hash_of(approval))


def hash_of(approval: Approval) -> str:
    """Return the hash of what a request asks for; where the worker sent none, it is made here."""
    known = approval.get("arguments_hash")
    return str(known) if known else arguments_hash(str(approval.get("tool_name")), approval.get("tool_args") or {})


class AnswerTokens:
    def __init__(self, database: Database) -> None:
        self._db = database

    def make(self, approval: Approval, notification_id: str, person: str | None) -> str:
        """Return a new token, which ends with the request."""
        token = secrets.token_urlsafe(32)
        row = {
            "hash": _hashed(token),
            "organization_id": approval["organization_id"],
            "approval_id": approval["id"],
            "notification_id": notification_id,
            "arguments_hash": hash_of(approval),
            "person": person,
            "expires_at": datetime.fromisoformat(approval["expires_at"]).timestamp(),
        }
        with self._db.transaction():
            self._db.execute(insert(T), row)
        return token

    def find(self, token: str) -> AnswerToken | None:
        row = self._db.execute(select(T).where(T.c.hash == _hashed(token))).first()
        return AnswerToken(**row._mapping) if row else None

    def use(self, token: AnswerToken, now: float) -> bool:
        """Use a token up; return False when it was used or is over. Call this in the transaction of the answer."""
        open_ = (T.c.hash == token.hash) & T.c.used_at.is_(None) & (T.c.expires_at > now)
        with self._db.transaction():
            return bool(self._db.execute(update(T).where(open_).values(used_at=now)).rowcount)

    def forget_old(self, now: float) -> None:
        with self._db.transaction():
            self._db.execute(delete(T).where(T.c.expires_at < now - 86_400.0))


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
