"""The SQLite database: opened once, migrated when it is behind, used by one thread.

Statements run on the event loop's own thread. Each takes some tens of microseconds; handing it to another thread costs
more than that, and one writer needs no locks.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import StaticPool

from kubiya_worker.errors import ConfigurationError, Unavailable

HEAD: Final = "0001"  # the newest migration; a test compares it with the scripts


def now() -> str:
    return datetime.now(UTC).isoformat()


def dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


class Database:
    def __init__(self, path: Path) -> None:
        """Raises ConfigurationError when the file is not ours, Unavailable when it cannot be opened."""
        self.path = path
        self._engine = create_engine(f"sqlite:///{path}", poolclass=StaticPool, connect_args={"timeout": 10})
        event.listen(self._engine, "connect", _pragmas)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                path.touch(mode=0o600)
            self.connection: Connection = self._engine.connect()
            self._migrate()
        except OperationalError as error:
            raise Unavailable(
                f"The database {path} cannot be opened: {error.orig}",
                remedy="Check the folder, its rights and the disk",
            ) from error
        except DatabaseError as error:
            raise ConfigurationError(
                f"{path} is not a database of this control plane: {error.orig}",
                remedy="Move the file away, or name another one with --database",
            ) from error
        except OSError as error:
            raise Unavailable(f"The database {path} cannot be opened: {error}") from error

    def _migrate(self) -> None:
        tables = {row[0] for row in self.connection.execute(text("select name from sqlite_master where type='table'"))}
        if "alembic_version" in tables:
            version = self.connection.execute(text("select version_num from alembic_version")).scalar()
            self.connection.commit()
            if version == HEAD:
                return
        elif tables:
            raise ConfigurationError(
                f"{self.path} is a SQLite database, but not of this control plane",
                remedy="Name another file with --database",
            )
        self.connection.commit()
        from alembic import command  # a database that is current does not pay for it
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations"))
        config.attributes["connection"] = self.connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise ConfigurationError(
                f"{self.path} was made by a newer version: {error}", remedy="Update kubiya-worker"
            ) from error
        self.connection.commit()

    def execute(self, statement: Any, values: Any = None) -> Any:
        return self.connection.execute(statement, values) if values is not None else self.connection.execute(statement)

    def commit(self) -> None:
        self.connection.commit()

    def rollback(self) -> None:
        self.connection.rollback()

    def close(self) -> None:
        self.connection.close()
        self._engine.dispose()


def _pragmas(connection: Any, _: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=10000"):
        connection.execute(f"PRAGMA {pragma}")
