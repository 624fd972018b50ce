"""This module removes executions that are more, or older, than the server is to keep, and audit records that are older:
the oldest first, step by step.

A step is one short transaction. Requests are answered between two steps, and the server rests as long as a step took.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from kubiya_worker.event_log import EventLogger
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol.audit import ChainCheck, Head, head_of
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.store.database import Stale
from kubiya_worker.server.store.executions import STARTED
from kubiya_worker.server.store.removals import AT_ONCE, PARENT, Candidate, is_over

log = EventLogger(__name__)

LOOK_EVERY: Final = 60.0  # seconds between two looks
YOUNG: Final = timedelta(hours=1)  # what ended within it stays: somebody may follow it, or write late events of it
BRIEF: Final = 0.005  # seconds that a step should take
FEWEST: Final = 8  # rows or pages of a step
MOST: Final = 2048


class Pace:
    """A pace says how much a step does: more after a short one, less after a long one."""

    def __init__(self) -> None:
        self.most = FEWEST
        self.longest = 0.0

    async def step(self, work: Callable[[int], bool]) -> bool:
        """Do one step and rest as long as it took; return what it returned."""
        began = time.perf_counter()
        more = work(self.most)
        took = time.perf_counter() - began
        self.longest = max(self.longest, took)
        if took > BRIEF:
            self.most = max(FEWEST, self.most // 2)
        elif took < BRIEF / 2:
            self.most = min(MOST, self.most * 2)
        await asyncio.sleep(took)
        return more


async def keep_limits(plane: Plane) -> None:
    """Remove what is over the limits of the server, until cancelled; without limits only what was begun."""
    while True:
        try:
            await Retention(plane, datetime.now(UTC)).look()
        except Exception as error:  # a full disk, or a bug: the next look may succeed
            log.fault("retention.failed", error)
        await asyncio.sleep(LOOK_EVERY)


class Retention:
    """A retention is one look, at a time, at what is over the limits."""

    def __init__(self, plane: Plane, at: datetime) -> None:
        self._plane, self._at = plane, at
        self._store, self._limits = plane.stores.removals, plane.limits
        self._quiet = (at - YOUNG).isoformat()
        self._led: dict[str, set[str]] = {}  # by organization: those that led to open executions
        self.rows, self.pages = Pace(), Pace()
        self.removed = 0

    async def look(self) -> int:
        """Remove what is over the limits, and return the number of executions."""
        while hidden := self._store.hidden():  # by a look that was interrupted
            for execution_id in hidden:
                await self._drop(execution_id)
        if self._limits.days is not None or self._limits.count is not None:
            for organization_id in self._store.organizations():
                await self._by_age_and_count(organization_id)
        if self._limits.audit is not None:
            await self._cut_audit(self._limits.audit)
        if self._limits.bytes is not None:
            await self._by_bytes(self._limits.bytes)
        self._store.forget_old(self._at.timestamp())
        if self._limits:
            while await self.pages.step(self._store.give_back):
                pass
        if self.removed:
            log.info("retention.removed", executions=self.removed)
        return self.removed

    async def _by_age_and_count(self, organization_id: str) -> None:
        days, count = self._limits.days, self._limits.count
        old = (self._at - timedelta(days=days)).isoformat() if days is not None else ""
        last = self._store.nth_newest(organization_id, count) if count is not None else None
        for number, each in enumerate(self._store.oldest(organization_id)):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            more = last is not None and (each.created_at, each.id) < last
            if not more and each.created_at >= old:
                return
            if each.updated_at < old:
                await self._remove(each, f"--keep-executions {days:g}")
            elif more:
                await self._remove(each, f"--keep-count {count}")

    async def _by_bytes(self, most: int) -> None:
        every = heapq.merge(*(self._store.oldest(each) for each in self._store.organizations()))
        for number, each in enumerate(every):
            if self._store.used_bytes() <= most:
                return
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            await self._remove(each, f"--keep-bytes {most}")
        if self._store.used_bytes() > most:
            log.warning("retention.too_small", used=self._store.used_bytes(), keep_bytes=most)

    async def _cut_audit(self, days: float) -> None:
        """Remove audit records that are too old; the first may be a little older, since each cut leaves a record."""
        audit, old = self._plane.stores.audit, self._at - timedelta(days=days)
        late = old - timedelta(days=min(1.0, days / 10))
        for organization_id in self._store.organizations():
            last = await self._last_before(organization_id, old.isoformat(), late.isoformat())
            if last is not None:
                audit.cut(organization_id, last, f"--keep-audit {days:g}")
            self.rows.most = FEWEST
            while await self.rows.step(functools.partial(audit.drop_part, organization_id)):
                pass

    async def _last_before(self, organization_id: str, old: str, late: str) -> Head | None:
        """Return the last record that was written before `old`; None where none was before `late`.

        What does not hold is evidence: neither it nor anything after it is removed.
        """
        audit, last = self._plane.stores.audit, None
        begin = audit.begin(organization_id)
        check = ChainCheck(after=begin)
        while part := audit.lines(organization_id, last.seq if last else begin.seq, AT_ONCE):
            for _, line in part:
                wrong = next(check.line(line), None)
                if wrong is not None:
                    log.error(
                        "audit.broken",
                        organization=organization_id,
                        error=wrong.text,
                        remedy="nothing from there on is removed; see kubiya audit verify",
                    )
                    return last
                record = json.loads(line)
                if record["at"] >= (old if last else late):
                    return last
                last = head_of(record)
            await asyncio.sleep(0)
        return last

    async def _remove(self, candidate: Candidate, rule: str) -> None:
        if not is_over(candidate, self._quiet):
            return
        if candidate.organization_id not in self._led:
            self._led[candidate.organization_id] = await self._led_in(candidate.organization_id)
        if candidate.id in self._led[candidate.organization_id]:
            return
        if not self._hide(candidate, rule):
            return
        self.removed += 1
        await self._drop(candidate.id)

    def _hide(self, candidate: Candidate, rule: str) -> bool:
        plane, execution_id = self._plane, candidate.id
        try:
            with plane.database.transaction():
                execution = plane.stores.executions.get(candidate.organization_id, execution_id)
                if execution is None or execution["updated_at"] != candidate.updated_at:
                    return False
                parent = execution.get(PARENT) or (execution.get("execution_metadata") or {}).get(PARENT)
                status = plane.stores.executions.status(str(parent)) if parent else None
                if self._store.needed(execution_id) or (status is not None and not ex.is_final(status)):
                    return False  # a parent that goes on may ask for what it has had done
                if not self._store.hide(execution, rule, self._at.timestamp()):
                    raise Stale
                shown = {name: execution.get(name) for name in (*STARTED, "status")}
                plane.stores.executions.record_decision(execution, "delete", shown, detail=f"Removed because of {rule}")
        except Stale:
            return False
        plane.stores.executions.forget(execution_id)
        plane.stores.events.forget(execution_id)
        plane.watchers.grew(execution_id)
        return True

    async def _drop(self, execution_id: str) -> None:
        self.rows.most = FEWEST  # rows of another execution can be much larger
        while await self.rows.step(lambda most: self._store.drop_part(execution_id, most)):
            pass
        await asyncio.to_thread(self._plane.run_files.forget, execution_id)

    async def _led_in(self, organization_id: str) -> set[str]:
        """Return those that led to open executions, directly or not."""
        teams: set[str] = set()
        for number, parent in enumerate(self._store.parents(organization_id)):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            while parent and parent not in teams:
                teams.add(parent)
                row = self._plane.stores.executions.get(organization_id, parent) or {}
                parent = str(row.get(PARENT) or (row.get("execution_metadata") or {}).get(PARENT) or "")
        return teams
