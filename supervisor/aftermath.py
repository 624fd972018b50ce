"""Decide what follows the end of a run: another start, or the end of the supervisor. Pure, like `backoff`.

| asked of the supervisor meanwhile | the run's end                        | what follows                           |
|-----------------------------------|--------------------------------------|----------------------------------------|
| stop                              | any                                  | stopped, 0; killed in the end: 75      |
| drain                             | exit code 0, or it was never ready   | stopped, 0                             |
|                                   | any other                            | failed, with its code                  |
| restart                           | any                                  | start at once                          |
| nothing                           | any                                  | what `backoff.decide` says of its class |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from . import backoff, intent
from .posix.child import ChildExit
from .spec import Spec

EX_OK: Final = 0
EX_TEMPFAIL: Final = 75


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Hold what the supervisor knows of a run that has ended, beside how it ended."""

    intent: str  # what was asked of the supervisor, one of `intent.py`
    ready: bool  # whether the child has ever said READY=1
    hung: bool
    killed: bool


NO_RUN: Final = RunFacts(intent="", ready=False, hung=False, killed=False)  # the child could not be started


@dataclass(frozen=True, slots=True)
class Finish:
    """The supervisor ends, too."""

    code: int  # its exit code
    become: str  # stopped | failed
    why: str
    by_itself: bool  # nobody asked for it: the starter is shown the child's last lines


def kind_of(run: RunFacts, end: ChildExit, spec: Spec) -> str:
    """Return the class of an end, one of `backoff`'s.

    A stop that was requested is never a crash, because some programs die of SIGABRT after a clean shutdown.
    """
    if not intent.watches(run.intent):
        return "asked"
    if run.hung:
        return "hung"
    # A child that was never ready has no work to finish, and may not have installed its handler yet.
    drained = run.intent == intent.DRAIN and (end.code == 0 or not run.ready)
    return "asked" if drained else spec.class_of(end.code)


def decide(
    run: RunFacts,
    end: ChildExit,
    deaths: Sequence[backoff.Death],
    asked_for: str,
    now: float,
    chance: Callable[[], float],
    spec: Spec,
) -> Finish | backoff.StartAt:
    """Decide what follows.

    The last of `deaths` is the end of this run, with its class. `asked_for` is the reason of a stop or drain; `now` and
    `chance` are those of `backoff.decide`.
    """
    kind = deaths[-1].kind
    if run.intent == intent.STOP:
        return Finish(EX_TEMPFAIL if run.killed else EX_OK, "stopped", asked_for, by_itself=False)
    if run.intent == intent.DRAIN:
        if kind == "asked":
            return Finish(EX_OK, "stopped", asked_for, by_itself=False)
        why = f"it ended while it drained: {end}"
        return Finish(end.shell_code or EX_TEMPFAIL, "failed", why, by_itself=True)
    decision = backoff.decide(deaths, now, chance, spec)
    if isinstance(decision, backoff.StartAt):
        return decision
    why = f"{end.why}; {decision.why}" if end.why else decision.why
    return Finish(decision.code, "stopped" if kind == "done" else "failed", why, by_itself=True)
