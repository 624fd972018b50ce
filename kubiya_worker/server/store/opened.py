"""This module opens the database that an address names; PostgreSQL's driver is loaded only where it is needed."""

from __future__ import annotations

import importlib

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.server.store.address import Place, PostgresAddress
from kubiya_worker.server.store.database import Database


def open_database(place: Place, *, exclusive: bool = True) -> Database:
    """Open it and bring its schema up to date; raise ConfigurationError or Unavailable.

    `exclusive` forbids another server on an SQLite file; several share a PostgreSQL database.
    """
    if not isinstance(place, PostgresAddress):
        return Database(place, exclusive=exclusive)
    try:
        postgres = importlib.import_module("kubiya_worker.server.store.postgres")
    except ImportError as error:
        raise ConfigurationError(
            f"{place} needs PostgreSQL's driver ({error})", remedy="pip install 'kubiya-worker[server,postgres]'"
        ) from error
    made: Database = postgres.PostgresDatabase(place)
    return made
