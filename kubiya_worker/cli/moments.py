"""This module reads times as a person types them, and writes them with the zone of this host. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from kubiya_worker.cli.render import duration
from kubiya_worker.cli.terminal import one_line
from kubiya_worker.errors import UsageError

_AGE: Final = re.compile(r"(\d+)([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def moment(text: str, now: datetime) -> str:
    """Return the time of `2h`, `7d` or an ISO date. Raises UsageError for another form."""
    age = _AGE.fullmatch(text.strip())
    try:
        if age:
            return (now - timedelta(seconds=int(age[1]) * _SECONDS[age[2]])).isoformat()
        at = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise UsageError(f"{one_line(text, 40)!r} is not a time", remedy="Write 2h, 7d, or 2026-11-28T12:00") from None
    return at.astimezone(UTC).isoformat()


def span(text: str) -> int:
    """Return the seconds of `90s` or `6h`; a bare number is seconds. Raises UsageError for another form."""
    match = _AGE.fullmatch(text.strip()) or _AGE.fullmatch(f"{text.strip()}s")
    if match is None:
        raise UsageError(f"{one_line(text, 40)!r} is not a length of time", remedy="Write 90s, 15m, 6h or 2d")
    return int(match[1]) * _SECONDS[match[2]]


def parsed(stamp: Any) -> datetime | None:
    """Return the time of a stored text; without a zone it is UTC. None for what is no time."""
    try:
        at = datetime.fromisoformat(str(stamp))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def clock(stamp: Any) -> str:
    """Return a time in this host's zone, with the zone: `2026-11-29 03:12:05 +01:00`; empty for what is no time."""
    at = parsed(stamp)
    return at.astimezone().isoformat(" ", "seconds").replace("+", " +") if at else ""


def between(began: Any, ended: Any) -> float | None:
    """Return the seconds from one time to another; None where one is missing."""
    first, last = parsed(began), parsed(ended)
    return max(0.0, (last - first).total_seconds()) if first and last else None


def seconds_taken(run: Mapping[str, Any]) -> float | None:
    """Return the seconds from what was asked of an execution, the last time that it went on, to its end."""
    return between((run.get("sequel") or {}).get("at") or run.get("created_at"), run.get("completed_at"))


def took(run: Mapping[str, Any]) -> str:
    """Return the time that an execution took in words; empty before its end."""
    seconds = seconds_taken(run)
    return "" if seconds is None else duration(seconds)


def age(stamp: Any, now: datetime | None = None) -> str:
    """Return the time since `stamp` in words; "?" when it is not a time."""
    at = parsed(stamp)
    return duration(max(0.0, ((now or datetime.now(UTC)) - at).total_seconds())) if at else "?"
