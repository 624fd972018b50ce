"""This module opens the database that an address names; PostgreSQL's driver is loaded only where it is needed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.server.store.address import Place, PostgresAddress
from kubiya_worker.server.store.database import Database


def open_database(place: Place, *, exclusive: bool = True) -> Database:
    """Open it and bring its schema up to date; raise ConfigurationError or Unavailable.

    `exclusive` forbids another server on an SQLite file; several share a PostgreSQL database.
    """
    if not isinstance(place, PostgresAddress):
        return Database(place, exclusive=exclusive)
    database: Database = _with_driver("postgres", place).PostgresDatabase(place)
    return database


def transfer(source: Path, target: PostgresAddress, tell: Callable[[str, int], None]) -> str:
    """Move all data from a file to a database, as transfer.py says; return why searches have no index there."""
    fault: str = _with_driver("transfer", target).transfer(source, target, tell)
    return fault


def _with_driver(module: str, place: PostgresAddress) -> Any:
    try:
        return importlib.import_module(f"kubiya_worker.server.store.{module}")
    except ImportError as error:
        raise ConfigurationError(
            f"{place} needs PostgreSQL's driver ({error})", remedy="pip install 'kubiya-worker[server,postgres]'"
        ) from error
