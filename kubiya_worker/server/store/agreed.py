"""This module checks that all servers of a database have the same key of the secrets: each could open only its own."""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete, insert, select

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.server.sealing import Seal
from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database

T: Final = schema.agreed
KEY: Final = "secrets-key"


def check_key(database: Database, seal: Seal, *, replace: bool = False) -> None:
    """Note the key's mark where there is none, or in place of another one if that is asked.

    Raise ConfigurationError for another key than was used first. The caller lets no other server start meanwhile.
    """
    mine = seal.mark()
    noted = database.execute(select(T.c.value).where(T.c.name == KEY)).scalar()
    if noted == mine:
        return
    if noted is not None and not replace:
        raise ConfigurationError(
            f"The key of the secrets ({seal.name}) is not the one that the database {database.path} was used with",
            remedy="Give this server the key of the others. If that key is lost: stop all servers, start one with "
            "--replace-secrets-key, and set the secrets again",
        )
    with database.transaction():
        database.execute(delete(T).where(T.c.name == KEY))
        database.execute(insert(T).values(name=KEY, value=mine))
