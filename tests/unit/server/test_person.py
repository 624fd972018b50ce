"""C: a key stands for a person; a revoked or expired one is refused at the next request, and an old one is admin."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from sqlalchemy import update

from kubiya_worker.server.auth import Keys, hashed
from kubiya_worker.server.person import ADMIN, Scope, of_key
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "cp.db")


def change(database: Database, key: str, **values: object) -> None:
    with database.transaction():
        database.execute(update(schema.api_keys).where(schema.api_keys.c.hash == hashed(key)).values(values))


def test_a_key_without_a_person_belongs_to_the_local_user_as_admin(database: Database) -> None:
    keys = Keys(database)
    caller = keys.caller(keys.create(), "127.0.0.1")
    assert caller is not None and caller.organization_id == "local"
    person = caller.person
    assert (person.name, person.role, person.address) == ("local user", ADMIN, "127.0.0.1")
    assert person.contact() == {"id": "local", "name": "local user", "email": "local@localhost"}
    assert len(person.key_id) == 12 and not person.scope.limited


def test_a_keys_person_has_what_is_stored(database: Database) -> None:
    keys = Keys(database)
    key = keys.create()
    told = {"name": "Ada", "email": "Ada@Example.org", "role": "approver", "groups": ["sre"]}
    change(database, key, data=json.dumps({**told, "scopes": {"queues": ["q1"]}}))
    caller = keys.caller(key)
    assert caller is not None
    person = caller.person
    assert (person.id, person.name, person.role, person.groups) == ("ada@example.org", "Ada", "approver", ("sre",))
    assert person.scope == Scope(queues=frozenset({"q1"}))
    assert person.scope.has_queue("q1") and not person.scope.has_queue("q2") and person.scope.has_agent("any")


@pytest.mark.parametrize("how", ["revoked", "changed", "the time has come"])
def test_a_key_that_has_ended_is_refused_at_the_next_request(
    database: Database, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys(database)
    key = keys.create(expires_at=time.time() + 3600)
    caller = keys.caller(key)
    assert caller is not None
    if how == "revoked":
        keys.revoke("local", caller.person.key_id)
    elif how == "changed":
        keys.change("local", caller.person.key_id, {"expires_at": time.time() - 1})
    else:  # it was looked up a moment ago, and counts no longer all the same
        late = time.time() + 3601
        monkeypatch.setattr(time, "time", lambda: late)
    assert keys.caller(key) is None


def test_two_keys_without_an_address_are_two_persons() -> None:
    one, other = (of_key(key, {"name": "bot", "role": "operator"}) for key in ("k1", "k2"))
    assert one.id != other.id and one.name == other.name == "bot"
