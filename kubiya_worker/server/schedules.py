"""Telling Temporal which schedules there are: stored with the change of a job, and told from here until it is known.

As with executions (outbox.py) a reply never waits for Temporal, and nothing is lost while it is away. Only the latest
word on a schedule counts, so there is one row for each.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from kubiya_worker.server.store import schedules as store
from kubiya_worker.server.store.schedules import Schedules, Wanted
from kubiya_worker.server.temporal import Refused, Temporal, TemporalDown

log = logging.getLogger(__name__)

RETRY: Final = 1.0  # seconds between tries while Temporal is away


class Scheduler:
    def __init__(self, schedules: Schedules, temporal: Temporal, *, refused: Callable[[str, str], None]) -> None:
        """`refused`: told the job's id, and why Temporal will never take its schedule."""
        self._schedules, self._temporal, self._refused = schedules, temporal, refused
        self._changed = asyncio.Event()

    def set(self, job_id: str, wanted: Wanted | None) -> None:
        """Belongs into the transaction that causes it."""
        self._schedules.set(job_id, wanted)
        self._changed.set()

    def get(self, job_id: str) -> Wanted | None:
        """As it is to be."""
        return self._schedules.get(job_id)

    async def run(self) -> None:
        """For ever. A Temporal without a file has lost its schedules when it comes back, so at first all are told."""
        self._schedules.forget_told()
        while True:
            self._changed.clear()
            try:
                for job_id, stored in self._schedules.untold():
                    await self._tell(job_id, store.parse(stored))
                    self._schedules.told(job_id, stored)
            except TemporalDown as error:
                log.warning("temporal.down schedules error=%s", error)
                await asyncio.sleep(RETRY)
                continue
            except Exception:  # a full disk, or a bug: the next round may do better
                log.exception("schedules.failed")
                await asyncio.sleep(RETRY)
                continue
            await self._changed.wait()

    async def _tell(self, job_id: str, wanted: Wanted | None) -> None:
        try:
            if wanted is None:
                await self._temporal.unschedule(job_id)
            else:
                await self._temporal.schedule(job_id, wanted)
        except Refused as error:
            log.warning("schedule.refused job_id=%s error=%s", job_id, error)
            self._refused(job_id, str(error))
