"""This module sends schedules to Temporal: each is stored with its job's change, and sent until Temporal has it.

As with executions (outbox.py), a reply never waits for Temporal, and nothing is lost while it is away. Only the latest
state of a schedule counts, so there is one row for each.
"""

from __future__ import annotations

import asyncio
from typing import Final

from kubiya_worker.event_log import EventLogger
from kubiya_worker.server.notify import events as notices
from kubiya_worker.server.notify.notifier import Notifier
from kubiya_worker.server.store import schedules as store
from kubiya_worker.server.store.schedules import Wanted
from kubiya_worker.server.stores import Stores
from kubiya_worker.server.temporal import RefusedByTemporal, TemporalDown
from kubiya_worker.server.temporal_schedules import TemporalSchedules

log = EventLogger(__name__)

RETRY: Final = 1.0  # seconds between tries while Temporal is away


class Scheduler:
    def __init__(self, stores: Stores, temporal: TemporalSchedules, notifier: Notifier) -> None:
        self._schedules, self._stores = stores.schedules, stores
        self._temporal, self._notifier = temporal, notifier
        self._changed = asyncio.Event()

    def set(self, job_id: str, wanted: Wanted | None) -> None:
        """Store the wanted schedule; call this in the transaction that causes it."""
        self._schedules.set(job_id, wanted)
        self._changed.set()

    def wake(self) -> None:
        """Look at the schedules now, as another server may have changed one."""
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
                    self._temporal.outage.ended()
                    self._schedules.mark_sent(job_id, stored)
            except TemporalDown as error:
                self._temporal.outage.began(str(error))
                await asyncio.sleep(RETRY)
                continue
            except Exception as error:  # a full disk, or a bug: the next round may succeed
                log.fault("schedules.failed", error)
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
            log.warning("schedule.refused", job_id=job_id, error=error)
            self._mark_refused(job_id, f"Temporal refuses its schedule: {error}")

    def _mark_refused(self, job_id: str, text: str) -> None:
        """Store with a job, and tell people, that Temporal refuses its schedule for good."""
        for job in self._stores.jobs.every():
            if job["id"] == job_id:
                with self._stores.database.transaction():
                    job = self._stores.jobs.update(job, {"error_message": text})
                    self._notifier.tell(job["organization_id"], notices.of_job(job, text))
