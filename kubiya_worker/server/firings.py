"""This module says which times of a job's schedule started nothing, and why. Pure.

Temporal counts such times, and keeps which times started a run, but it keeps no list of those that did not.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

OVERLAP: Final = "overlap"
MISSED: Final = "missed"
WAITS: Final = "waits"
TEXTS: Final = {
    OVERLAP: "the execution before it was still going",
    MISSED: "Temporal was away for longer than the job catches up",
    WAITS: "it waits for the end of the execution before it",
}
SHOWN: Final = 20  # times that are told, the latest ones
BUFFERING: Final = ("buffer_one", "buffer_all")


@dataclass(frozen=True)
class Timetable:
    """Hold what Temporal knows of a schedule; counts are since it was made."""

    following: Sequence[datetime]
    skipped: int = 0  # because of overlap
    missed: int = 0  # because Temporal was away for longer than the catch-up window
    waiting: int = 0  # firings that wait for the end of a run
    running: bool = False
    passed: Sequence[datetime] = field(default=())  # times of the schedule that are over
    started: Collection[datetime] = field(default=())  # those that started a run


@dataclass(frozen=True)
class Going:
    """The time in which a run of the job was going; without an end it still is."""

    execution_id: str
    began: datetime
    ended: datetime | None


def left_out(times: Timetable, runs: Sequence[Going], policy: str) -> list[dict[str, Any]]:
    """Return the times that started nothing, latest first, each with the reason and, if known, the run in its way."""
    last = max(times.started, default=None)
    skipped: list[dict[str, Any]] = []
    waiting = times.waiting if policy in BUFFERING else 0
    for at in sorted(set(times.passed) - set(times.started)):
        going = next((run for run in runs if run.began <= at and (run.ended is None or at < run.ended)), None)
        if waiting and (last is None or at > last):
            waiting, reason = waiting - 1, WAITS
        elif not times.skipped:
            reason = MISSED
        elif not times.missed or going or (times.running and last is not None and at > last):
            reason = OVERLAP
        else:
            reason = MISSED
        execution_id = going.execution_id if going and reason != MISSED else None
        skipped.append({"at": at.isoformat(), "reason": reason, "text": TEXTS[reason], "execution_id": execution_id})
    return skipped[: -SHOWN - 1 : -1]
