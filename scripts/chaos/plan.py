"""The plan of faults, with their times and durations, is a pure function of the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

# How often each kind is drawn beside the others, and the shortest and longest time that it lasts, in seconds.
KINDS: Final[dict[str, tuple[int, float, float]]] = {
    "kill-worker": (4, 0, 0),
    "kill-supervisor": (3, 0, 0),
    "kill-tool": (3, 0, 0),
    "stop-worker": (4, 1, 20),  # SIGSTOP, then SIGCONT
    "stop-supervisor": (2, 1, 10),
    "full-disk": (2, 1, 8),
    "full-disk-kill-worker": (1, 2, 8),  # the worker is killed while the disk is full
    "kill-control-plane": (3, 0.5, 8),
    "kill-temporal": (3, 0.5, 8),
    "kill-both": (1, 1, 8),  # control plane and Temporal
    "sighup": (2, 0, 0),
    "sigterm": (2, 0, 0),
    "step-clock": (2, 1, 5),
}
# Beside those, where several control planes share a PostgreSQL server.
SHARED: Final[dict[str, tuple[int, float, float]]] = {
    "kill-leader": (4, 0.5, 8),  # the control plane that works for all
    "kill-follower": (3, 0.5, 8),
    "stop-leader": (3, 1, 12),  # SIGSTOP: it may go on after another one leads
    "kill-postgresql": (4, 0.5, 8),
    "restart-postgresql": (2, 0.5, 4),  # by its administrator
}
LONGEST_PAUSE: Final = 1.5  # seconds from one recovery to the next fault
STEPS: Final = (-86_400.0, -3_600.0, -90.0, -5.0, 5.0, 90.0, 3_600.0, 86_400.0)  # seconds, of the wall clock


@dataclass(frozen=True)
class Fault:
    number: int  # from 1
    kind: str
    pause: float  # seconds before it
    seconds: float  # how long it lasts
    step: float = 0.0  # of the wall clock, seconds

    def __str__(self) -> str:
        lasts = f" {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.kind}{lasts}" + (f" by {self.step:+,.0f} s" if self.step else "")


def make(faults: int, seed: int, kinds: tuple[str, ...] = tuple(KINDS)) -> list[Fault]:
    """Plan faults. A longer plan begins as a shorter one; with room, each kind comes once before any comes twice."""
    chance = random.Random(seed)
    first = list(kinds)
    chance.shuffle(first)
    every = KINDS | SHARED
    weights = [every[kind][0] for kind in kinds]
    made = []
    for number in range(1, faults + 1):
        kind = first[number - 1] if number <= len(first) else chance.choices(kinds, weights)[0]
        _, shortest, longest = every[kind]
        pause, seconds, step = chance.uniform(0, LONGEST_PAUSE), chance.uniform(shortest, longest), chance.choice(STEPS)
        made.append(Fault(number, kind, pause, seconds, step if kind == "step-clock" else 0.0))
    return made
