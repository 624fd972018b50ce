"""Each law sees its breach, and lets pass what only looks like one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scripts.chaos import laws
from scripts.chaos.evidence import Birth, Event, Evidence, Execution, Hit, Log, Request, Run

Change = Callable[[Evidence], object]
SHELL, LOOK, SIGN = "t1-0-0-shell", "t1-0-1-look", "t1-1-0-sign"


def event(number: int, kind: str, call: str = "", outcome: str = "") -> Event:
    return Event(f"e_{number}_x", kind, call=call, outcome=outcome)


def sound() -> Evidence:
    """One execution of three model calls: a shell and a look, a signature, the answer. The worker is process 7."""
    log = [
        event(1, "tool_started", SHELL),
        event(2, "tool_started", LOOK),
        event(3, "tool_completed", SHELL, "success"),
        event(4, "tool_completed", LOOK, "success"),
        event(5, "tool_started", SIGN),
        event(6, "tool_completed", SIGN, "success"),
        event(7, "done"),
    ]
    execution = Execution("t1", "any", "id", "completed", "Done.", "Done.", list(log), log, {SIGN: 4.0}, 1.0, 6.0)
    execution.told = [[each.id for each in log] for _ in range(2)]
    return Evidence(
        executions=[execution],
        requests=[Request("t1", 0, 7, 1.0, 1.5), Request("t1", 1, 7, 3.0, 3.5), Request("t1", 2, 7, 5.0, 5.5)],
        runs=[Run("t1", SHELL, "shell", 7, 0.0), Run("t1", LOOK, "look", 7, 2.0), Run("t1", SIGN, "sign", 7, 4.5)],
        births=[Birth(7, 0.5)],
        log=Log(looked=3, numbers={7: [1, 2, 3]}, written={7: 3}),
        files=(1, []),
        left=(1, []),
        clock=(1, []),
    )


def again(seen: Evidence, step: int = 1, at: float = 4.0, pid: int | None = 8) -> None:
    """The model call is made again."""
    seen.requests.insert(step + 1, Request("t1", step, pid, at, at + 0.5))


def unknown(seen: Evidence) -> None:
    seen.executions[0].log[2].outcome = "unknown"


def never_ran(seen: Evidence) -> None:
    """Unknown, and it was not begun."""
    unknown(seen)
    del seen.runs[0]


def hit(kind: str = "killed", pid: int = 7, at: float = 3.2, until: float = 3.2) -> Hit:
    return Hit(1, kind, pid, at, until)


def hits(kind: str = "killed", pid: int = 7, at: float = 3.2, until: float = 3.2) -> Change:
    return lambda seen: seen.hits.append(hit(kind, pid, at, until))


def all_of(*changes: Change) -> Change:
    def change(seen: Evidence) -> None:
        for each in changes:
            each(seen)

    return change


def standing_still(seen: Evidence, seconds: float, kind: str = "stopped") -> None:
    """The worker has a call in hand, is stopped, and the call is made again when it goes on."""
    seen.executions[0].ended = seen.executions[0].ended + 20
    seen.requests[2].at += 20
    again(seen, at=3.3 + seconds, pid=7)
    seen.hits.append(hit(kind, 0 if kind == "temporal" else 7, 3.2, 3.2 + seconds))


def broken(seen: Evidence) -> list[str]:
    return [law.__name__ for law, verdict in zip(laws.LAWS, laws.judge(seen), strict=True) if verdict.breaches]


def test_a_sound_run_breaks_nothing_and_every_law_was_tried() -> None:
    verdicts = laws.judge(sound())
    assert [verdict.breaches for verdict in verdicts] == [[]] * len(laws.LAWS)
    assert all(verdict.tried for verdict in verdicts)


BREACHES: list[tuple[str, str, Change]] = [
    ("all_end", "not completed", lambda s: setattr(s.executions[0], "status", "running")),
    ("all_end", "another answer", lambda s: setattr(s.executions[0], "response", "Done. Done.")),
    ("finished_models_stay", "an earlier step", lambda s: s.requests.append(Request("t1", 0, 7, 5.8, 5.9))),
    ("finished_models_stay", "after the end", lambda s: s.requests.append(Request("t1", 2, 7, 6.5, 6.9))),
    ("models_repeat_for_a_reason", "no fault", again),
    ("models_repeat_for_a_reason", "another worker was hit", all_of(again, hits(pid=9))),
    (
        "models_repeat_for_a_reason",
        "hit before it had the call",
        all_of(again, hits(at=1.0, until=1.0)),
    ),
    ("models_repeat_for_a_reason", "hit after it", all_of(again, hits(at=4.1, until=4.1))),
    (
        "models_repeat_for_a_reason",
        "one fault for two",
        all_of(lambda s: again(s, pid=7), lambda s: again(s, at=4.2), hits(until=4.1)),
    ),
    ("models_repeat_for_a_reason", "stopped too shortly", lambda s: standing_still(s, 5.0)),
    ("models_repeat_for_a_reason", "Temporal away too shortly", lambda s: standing_still(s, 5.0, "temporal")),
    (
        "tools_repeat_for_a_reason",
        "a look again when it was over",
        all_of(lambda s: s.runs.append(Run("t1", LOOK, "look", 8, 3.4)), hits()),
    ),
    (
        "tools_repeat_for_a_reason",
        "unknown, it ran, Temporal away too shortly",
        all_of(unknown, hits("temporal", 0, 2.0, 2.5)),
    ),
    ("tools_run_once", "twice", lambda s: s.runs.append(s.runs[0])),
    ("tools_run_once", "never, and said to have succeeded", lambda s: s.runs.pop(0)),
    ("tools_run_once", "failed by itself", lambda s: setattr(s.executions[0].log[2], "outcome", "failed")),
    ("tools_run_once", "nothing is said", lambda s: s.runs.append(Run("t1", "t1-9-0-shell", "shell", 7, 0.0))),
    ("tools_repeat_for_a_reason", "a look again", lambda s: s.runs.append(Run("t1", LOOK, "look", 8, 2.5))),
    ("tools_repeat_for_a_reason", "a look that failed", lambda s: setattr(s.executions[0].log[3], "outcome", "failed")),
    ("tools_repeat_for_a_reason", "a look never made", lambda s: s.runs.pop(1)),
    ("tools_repeat_for_a_reason", "unknown, no fault", unknown),
    ("tools_repeat_for_a_reason", "unknown, no fault, no run", never_ran),
    (
        "tools_repeat_for_a_reason",
        "unknown, another worker",
        all_of(unknown, hits(pid=9, at=2.0, until=2.0)),
    ),
    ("approvals_hold", "before the yes", lambda s: setattr(s.runs[2], "at", 3.9)),
    ("approvals_hold", "nobody was asked", lambda s: s.executions[0].approved.clear()),
    ("events_are_whole", "a gap", lambda s: s.executions[0].log.pop(1)),
    ("events_are_whole", "a client missed one", lambda s: s.executions[0].live.pop()),
    ("events_are_whole", "a client got one twice", lambda s: s.executions[0].live.insert(1, s.executions[0].live[0])),
    ("events_are_whole", "disorder", lambda s: s.executions[0].log.reverse()),
    (
        "events_are_whole",
        "completed twice",
        lambda s: s.executions[0].log.append(event(8, "tool_completed", LOOK, "success")),
    ),
    ("servers_agree", "one has fewer", lambda s: s.executions[0].told[1].pop()),
    ("servers_agree", "one has another order", lambda s: s.executions[0].told[0].reverse()),
    ("lines_are_whole", "a torn line", lambda s: s.log.torn.append("2026-")),
    ("losses_are_told", "a hole", lambda s: s.log.numbers[7].remove(2)),
    ("losses_are_told", "the last line", lambda s: s.log.numbers[7].remove(3)),
    ("losses_are_told", "all lines", lambda s: s.log.numbers.clear()),
    ("losses_are_told", "a line twice", lambda s: s.log.numbers[7].append(3)),
    (
        "losses_are_told",
        "more than was told",
        all_of(lambda s: s.log.numbers.clear(), lambda s: setattr(s.log, "told", 2)),
    ),
    ("files_agree", "a file", lambda s: s.files[1].append("worker.pid says 1")),
    ("nothing_is_left", "a process", lambda s: s.left[1].append("41 sleep")),
    ("the_clock_was_stepped", "not seen", lambda s: s.clock[1].append("fault 3")),
]


@pytest.mark.parametrize(
    ("law", "change"), [(law, change) for law, _, change in BREACHES], ids=[f"{a}: {b}" for a, b, _ in BREACHES]
)
def test_a_breach_is_seen(law: str, change: Change) -> None:
    seen = sound()
    change(seen)
    assert law in broken(seen)


ALLOWED: list[tuple[str, Change]] = [
    ("its worker was killed", all_of(again, hits())),
    (
        "its worker was killed; the kernel had forgotten the connection",
        all_of(again, lambda s: setattr(s.requests[1], "pid", None), hits()),
    ),
    ("Temporal was away for long", lambda s: standing_still(s, 12.0, "temporal")),
    (
        "unknown, lost on its way to the worker while Temporal was away",
        all_of(never_ran, hits("temporal", 0, 2.0, 2.5)),
    ),
    ("its worker stood still for long", lambda s: standing_still(s, 12.0)),
    (
        "a look, its worker was killed",
        all_of(lambda s: s.runs.append(Run("t1", LOOK, "look", 8, 2.5)), hits(at=2.2, until=2.2)),
    ),
    ("unknown, its worker was killed", all_of(unknown, hits(at=2.0, until=2.0))),
    (
        "unknown and never begun, the worker was killed",
        all_of(never_ran, hits(at=2.0, until=2.0)),
    ),
    (
        "failed, its process was killed",
        all_of(lambda s: setattr(s.executions[0].log[2], "outcome", "failed"), lambda s: s.killed_calls.add(SHELL)),
    ),
    ("a loss that is told", all_of(lambda s: s.log.numbers[7].remove(2), lambda s: setattr(s.log, "told", 1))),
    (
        "the last lines when nobody was there to read",
        all_of(lambda s: s.log.numbers[7].remove(3), lambda s: s.unread.add(7)),
    ),
]


@pytest.mark.parametrize("change", [change for _, change in ALLOWED], ids=[name for name, _ in ALLOWED])
def test_what_a_fault_explains_is_no_breach(change: Change) -> None:
    seen = sound()
    change(seen)
    assert broken(seen) == []
