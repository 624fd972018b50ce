"""This module says when a message has to wait for the end of quiet hours. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from kubiya_worker.server.notify.events import SEVERITIES

DAY: Final = timedelta(days=1)


def clock(text: str) -> time:
    """Return the time of HH:MM. Raises ValueError."""
    if len(text) != 5:
        raise ValueError("a time of day is HH:MM")
    return time.fromisoformat(text)


def held_until(quiet: Mapping[str, Any] | None, severity: str, at: float) -> float | None:
    """Return the end of the quiet hours that `at` is in; None outside of them, and for a severity that passes.

    Times are in seconds since the epoch. On a day when the clocks change, the hours are those that the clock shows.
    """
    if not quiet:
        return None
    passes = quiet.get("let_pass")
    if passes and SEVERITIES.index(severity) >= SEVERITIES.index(passes):
        return None
    zone, start, end = ZoneInfo(quiet["zone"]), clock(quiet["start"]), clock(quiet["end"])
    today = datetime.fromtimestamp(at, zone).date()
    for day in (today - DAY, today):
        until = _moment(day if start < end else day + DAY, end, zone)
        if _moment(day, start, zone) <= at < until:
            return until
    return None


def _moment(day: date, at: time, zone: ZoneInfo) -> float:
    return datetime.combine(day, at, zone).astimezone(UTC).timestamp()
