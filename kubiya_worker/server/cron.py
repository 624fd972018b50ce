"""This module turns cron expressions (five fields, or a word such as @daily) into those of Temporal's schedules.
Pure.
"""

from __future__ import annotations

import zoneinfo
from typing import Final

MONTHS: Final = "jan feb mar apr may jun jul aug sep oct nov dec".split()  # noqa: SIM905 - reads better
DAYS: Final = "sun mon tue wed thu fri sat".split()  # noqa: SIM905
# name, lowest value, highest value, names of the values from the lowest on
FIELDS: Final[tuple[tuple[str, int, int, list[str]], ...]] = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of month", 1, 31, []),
    ("month", 1, 12, MONTHS),
    ("day of week", 0, 7, DAYS),  # 0 and 7 are Sunday
)
WORDS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
LONGEST: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # days of each month


def expressions(text: str) -> list[str]:
    """Return the expressions for Temporal; raise ValueError with one line that says what is wrong.

    When both days are restricted, cron runs where either matches, but Temporal where both do: that becomes two
    expressions.
    """
    words = text.split()
    if len(words) == 1 and words[0].startswith("@"):
        if words[0].lower() not in WORDS:
            raise ValueError(f"{words[0][:20]!r} is none of {', '.join(WORDS)}")
        words = WORDS[words[0].lower()].split()
    if len(words) != len(FIELDS):
        raise ValueError(
            f"a schedule has five fields (minute, hour, day of month, month, day of week), not {len(words)}"
        )
    values = [_values(word, *field) for word, field in zip(words, FIELDS, strict=True)]
    if words[4][0] == "*" and not any(day <= LONGEST[month - 1] for day in values[2] for month in values[3]):
        raise ValueError("no month that is named has that day")
    minute, hour, day, month, weekday = map(_line, values, FIELDS)
    if words[2][0] == "*" or words[4][0] == "*":  # cron's own rule: */2 does not count as a restriction here
        return [f"{minute} {hour} {day} {month} {weekday}"]
    return [f"{minute} {hour} {day} {month} *", f"{minute} {hour} * {month} {weekday}"]


def check_zone(name: str) -> None:
    """Raise ValueError for an unknown time zone; on a host without zone data, Temporal decides."""
    known = zoneinfo.available_timezones()
    if known and name not in known:
        raise ValueError(f"{name[:60]!r} is no time zone; one is named as in Europe/Berlin, or UTC")


def _values(word: str, name: str, low: int, high: int, names: list[str]) -> set[int]:
    values: set[int] = set()
    for part in word.split(","):
        span, slash, step_text = part.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            begin, end = low, min(high, 6) if names is DAYS else high
        else:
            begin = _number(first, word, name, low, high, names)
            end = _number(last, word, name, low, high, names) if dash else high if slash else begin
            if names is DAYS and dash and end == 0:
                end = 7  # fri-sun
        step = _number(step_text, word, name, 1, high, []) if slash else 1
        if begin > end:
            raise ValueError(f"{word[:40]!r} as {name}: {span} goes backwards")
        values.update(range(begin, end + 1, step))
    return {value % 7 for value in values} if names is DAYS else values


def _number(text: str, word: str, name: str, low: int, high: int, names: list[str]) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + low
    if text.isascii() and text.isdigit() and len(text) < 4 and low <= int(text) <= high:
        return int(text)
    raise ValueError(f"{word[:40]!r} is no {name}: {low} to {high}{f', or {names[0]} to {names[-1]}' if names else ''}")


def _line(values: set[int], field: tuple[str, int, int, list[str]]) -> str:
    _, low, high, names = field
    every = 7 if names is DAYS else high - low + 1
    return "*" if len(values) == every else ",".join(map(str, sorted(values)))
