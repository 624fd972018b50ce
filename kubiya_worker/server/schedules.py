"""This module sends schedules to Temporal: each is stored with its job's change, and sent until Temporal has it.

As with executions (outbox.py), a reply never waits for Temporal, and nothing is lost while it is away. Only the latest
state of a schedule counts, so there is one row for each.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from kubiya_worker.server.store import schedules as store
from kubiya_worker.server.store.schedules import Schedules, Wanted
from kubiya_worker.server.temporal import RefusedByTemporal, TemporalDown
from kubiya_worker.server.temporal_schedules import TemporalSchedules

log = logging.getLogger(__name__)

RETRY: Final = 1.0  # seconds between tries while Temporal is away


class Scheduler:
    def __init__(
        self, schedules: Schedules, temporal: TemporalSchedules, *, refused: Callable[[str, str], None]
    ) -> None:
        """Take `refused`, which is called with a job's id and the reason.

        Temporal has then refused that job's schedule for good.
        """
        self._schedules, self._temporal, self._refused = schedules, temporal, refused
        self._changed = asyncio.Event()

    def set(self, job_id: str, wanted: Wanted | None) -> None:
        """Store the wanted schedule; call this in the transaction that causes it."""
        self._schedules.set(job_id, wanted)
        self._changed.set()

    def wake(self) -> None:
        """Look now: another server may have changed one."""
        self._changed.set()

    def get(self, job_id: str) -> Wanted | None:
        """Return the wanted schedule, or None."""
        return self._schedules.get(job_id)

    async def run(self) -> None:
        """Send changed schedules until cancelled.

        Begin with all of them, since a Temporal without a file loses them at its restart.
        """
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
            except Exception:  # a full disk, or a bug: the next round may succeed
                log.exception("schedules.failed")
                await asyncio.sleep(RETRY)
                continue
            await self._changed.wait()

    async def _tell(self, job_id: str, wanted: Wanted | None) -> None:
        try:
            if wanted is None:
                await self._temporal.remove(job_id)
            else:
                await self._temporal.set(job_id, wanted)
        except RefusedByTemporal as error:
            log.warning("schedule.refused job_id=%s error=%s", job_id, error)
            self._refused(job_id, str(error))
