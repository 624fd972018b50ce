"""Decide whether and when to start a child again. Pure: history, clock and chance are arguments.

| class   | exit codes (Spec.exit_classes)     | what follows                                         |
|---------|------------------------------------|------------------------------------------------------|
| asked   | any: a restart was asked for       | start at once                                        |
| done    | 0                                  | give up with that code: the work is done             |
| once    | 64, 77, 78                         | give up with that code: another try changes nothing  |
| network | 69, 75                             | start after a delay, for ever                        |
| crash   | any other, any signal              | start after a delay; `give_up_after` may end it      |
| hung    | killed by the watchdog             | like crash                                           |

The delay before the n-th start in a row is a random number of seconds between 0 and first * 2**(n-1), at most
`longest`. With this full jitter, workers that crashed at the same time do not all start at the same time. A run that
was ready for `healthy_after` seconds begins a new row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .spec import Spec


@dataclass(frozen=True, slots=True)
class Death:
    kind: str  # the class, see the table above
    code: int  # exit code, 128 + signal
    healthy: float = 0.0  # seconds from READY=1 to the end


@dataclass(frozen=True, slots=True)
class StartAt:
    at: float  # seconds, on the same clock as `now`


@dataclass(frozen=True, slots=True)
class GiveUp:
    code: int
    why: str


def decide(deaths: Sequence[Death], now: float, chance: Callable[[], float], spec: Spec) -> StartAt | GiveUp:
    """Decide whether to start the child again, and when.

    `deaths` is oldest first and has at least one element. `chance` returns a number from 0 to 1.
    """
    last = deaths[-1]
    if last.kind == "asked":
        return StartAt(now)
    if last.kind == "done":
        return GiveUp(last.code, "it has finished")
    if last.kind == "once":
        return GiveUp(last.code, f"exit code {last.code}: another try changes nothing")
    row = _row(deaths, spec.healthy_after)
    crashes = sum(death.kind in ("crash", "hung") for death in row)
    if last.kind != "network" and 0 < spec.give_up_after <= crashes:
        return GiveUp(last.code or 70, f"{crashes} crashes in a row")
    ceiling = min(spec.backoff_longest, spec.backoff_first * 2.0 ** min(len(row) - 1, 60))
    return StartAt(now + ceiling * chance())


def _row(deaths: Sequence[Death], healthy_after: float) -> list[Death]:
    """Return the latest deaths in a row.

    The row begins with the death that ended the last healthy run, or after the last restart that was requested.
    """
    row: list[Death] = []
    for death in reversed(deaths):
        if death.kind == "asked":
            break
        row.append(death)
        if death.healthy >= healthy_after:
            break
    return row
