"""This module checks when a job starts by its schedule, and tells when it will, and when it did not."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from kubiya_worker.server import cron, firings, template
from kubiya_worker.server.call import Call
from kubiya_worker.server.firings import Going, Timetable
from kubiya_worker.server.refusals import invalid
from kubiya_worker.server.store import definitions
from kubiya_worker.server.store.records import Object
from kubiya_worker.server.store.schedules import Wanted

CRON: Final = "cron"
OF_SCHEDULES: Final[Object] = {"overlap_policy": definitions.OVERLAP, "catch_up_seconds": definitions.CATCH_UP}
COUNTED: Final = 100  # latest runs of a job in which the one is looked for that was in the way of another


def check(job: Object) -> None:
    try:
        cron.check_zone(job["cron_timezone"])
    except ValueError as error:
        raise invalid("cron_timezone", str(error)) from error
    if job["trigger_type"] != CRON:
        for name, default in OF_SCHEDULES.items():
            if job.get(name, default) != default:
                raise invalid(name, f"{name} goes with the trigger_type cron")
        return
    if not job["cron_schedule"]:
        raise invalid("cron_schedule", "trigger_type cron needs a cron_schedule", "missing")
    try:
        cron.expressions(job["cron_schedule"])
    except ValueError as error:
        raise invalid("cron_schedule", str(error)) from error
    holes = template.holes(job["prompt_template"])
    if holes:
        raise invalid("prompt_template", f"A schedule brings no value for {', '.join(holes)}")


def key(wanted: Wanted) -> tuple[list[str], str, bool]:
    return wanted.cron, wanted.timezone, wanted.paused


async def times_of(call: Call, job: Object) -> Object:
    """Return the fields of a shown job that Temporal knows: its next runs, and what started none."""
    times = None
    if job["trigger_type"] == CRON:
        since = datetime.fromisoformat(job.get("schedule_since") or job["updated_at"])
        times = await call.plane.timetables.timetable(job["id"], since)
    following = [at.isoformat() for at in times.following] if times and job["enabled"] else []
    return {
        "next_execution_at": following[0] if following else None,
        "next_executions": following,
        "firings": left_out(call, job, times) if times else None,
    }


def left_out(call: Call, job: Object, times: Timetable) -> Object:
    """Return how many firings of a schedule started nothing since it was made, and the latest of them."""
    moment = datetime.fromisoformat
    runs = [
        Going(run["id"], moment(run["created_at"]), moment(run["completed_at"]) if run.get("completed_at") else None)
        for run in call.plane.stores.jobs.runs(job["id"], 0, COUNTED)
        if run["trigger_type"] == CRON
    ]
    left_out = firings.left_out(times, runs, job.get("overlap_policy", definitions.OVERLAP))
    return {"skipped": times.skipped, "missed": times.missed, "waiting": times.waiting, "left_out": left_out}
