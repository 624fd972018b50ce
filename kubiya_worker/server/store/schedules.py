"""This module stores the schedules of jobs, and which of them Temporal must still be told."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, delete, select, update

from kubiya_worker.server.store import schema
from kubiya_worker.server.store.database import Database, dumps
from kubiya_worker.server.store.definitions import CATCH_UP, OVERLAP
from kubiya_worker.server.store.outbox import MAX_ARGUMENT, TooLarge
from kubiya_worker.server.store.portable import put

T = schema.schedules
_SET: Final = put(T, ["job_id"])
_GONE: Final = "null"
_TOLD: Final = update(T).where(T.c.job_id == bindparam("key"), T.c.wanted == bindparam("was")).values(told=True)


@dataclass(frozen=True)
class Wanted:
    """The wanted state of a schedule; None in its place means that there should be none."""

    cron: list[str]
    timezone: str
    paused: bool
    queue_id: str
    argument: dict[str, Any]  # the workflow's input
    overlap: str = OVERLAP
    catch_up: int = CATCH_UP  # seconds; runs that Temporal has missed for longer are left out


class Schedules:
    def __init__(self, database: Database) -> None:
        self._db = database

    def set(self, job_id: str, wanted: Wanted | None) -> None:
        """Store the wanted schedule; raise TooLarge when Temporal would never accept it."""
        text = dumps(vars(wanted) if wanted else None)
        if len(text) > MAX_ARGUMENT:
            raise TooLarge(f"The job comes to {len(text):,} bytes for Temporal; at most {MAX_ARGUMENT:,} are taken")
        row = {"job_id": job_id, "wanted": text, "told": False}
        with self._db.transaction():
            self._db.execute(_SET, row)

    def get(self, job_id: str) -> Wanted | None:
        wanted = self._db.execute(select(T.c.wanted).where(T.c.job_id == job_id)).scalar()
        return parse(wanted) if wanted else None

    def untold(self) -> list[tuple[str, str]]:
        """Return (job id, stored schedule) of each schedule that Temporal must be told."""
        return [(row.job_id, row.wanted) for row in self._db.execute(select(T).where(T.c.told.is_(False)))]

    def mark_sent(self, job_id: str, stored: str) -> None:
        """Record that Temporal has the schedule `stored`; the wanted one may be newer by now."""
        with self._db.transaction():
            self._db.execute(_TOLD, {"key": job_id, "was": stored})
            self._db.execute(delete(T).where(T.c.wanted == _GONE, T.c.told.is_(True)))

    def forget_told(self) -> None:
        """Mark all schedules as not sent, because another Temporal may run now."""
        with self._db.transaction():
            self._db.execute(update(T).values(told=False))


def parse(stored: str) -> Wanted | None:
    raw = json.loads(stored)
    return Wanted(**raw) if raw else None
