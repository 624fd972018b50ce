"""One line of a worker's log: `time level event key=value …`, or a JSON object with the same facts. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

RANKS: Final = {"debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40, "critical": 50, "fatal": 50}
_LINE: Final = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d)) ([a-z]+) (\S+) ?(.*)", re.DOTALL)
_PAIR: Final = re.compile(r'([\w.]+)=("(?:[^"\\]|\\.)*"|\S*)')
_AGO: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse(line: str) -> dict[str, Any]:
    """Return {time, level, event, …}; {"message": line} for a line of another form."""
    if line.startswith("{"):
        try:
            document = json.loads(line)
        except ValueError:
            return {"message": line}
        if isinstance(document, dict):
            return {"time": document.pop("timestamp", document.pop("time", None)), **document}
        return {"message": line}
    match = _LINE.fullmatch(line)
    if match is None:
        return {"message": line}
    stamp, level, event, rest = match.groups()
    pairs = {name: _unquoted(value) for name, value in _PAIR.findall(rest)}
    return {"time": stamp, "level": level, "event": event, **pairs, "message": rest}


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r", "t": "\t"}.get(m[1], m[1]), value[1:-1])


def rank(level: str) -> int:
    """Return the number of a log level. Raises ValueError for an unknown one."""
    try:
        return RANKS[level.lower()]
    except KeyError:
        raise ValueError(f"--level {level!r} is not one of DEBUG, INFO, WARNING, ERROR, CRITICAL") from None


def parse_since(text: str, now: float) -> float:
    """Return seconds since 1970 for `10m` (ago) or an ISO time (UTC unless it says otherwise). Raises ValueError."""
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return now - float(ago[1]) * _UNITS[ago[2]]
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"--since {text!r} is not a time such as 10m, 2h, 3d or 2026-11-24T10:00") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


@dataclass
class Filter:
    """Selects lines. A line without its own time (of a traceback) is treated like the line before it."""

    since: float | None = None
    level: int = 0
    text: str = ""
    _last: bool = field(default=False, init=False)

    def select(self, lines: Iterable[str]) -> Iterator[str]:
        if self.since is None and not self.level and not self.text:
            yield from lines
            return
        for line in lines:
            if self.wants(line):
                yield line

    def wants(self, line: str) -> bool:
        facts = parse(line)
        if "level" in facts:
            self._last = self._since(facts) and RANKS.get(str(facts["level"]).lower(), 20) >= self.level
            return self._last and self.text in line
        return self._last and self.text in line

    def _since(self, facts: dict[str, Any]) -> bool:
        if self.since is None:
            return True
        try:
            return datetime.fromisoformat(str(facts["time"])).timestamp() >= self.since
        except (KeyError, ValueError):
            return self._last
