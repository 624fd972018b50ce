"""Deadlines by name."""

from __future__ import annotations

from kubiya_worker._supervisor.timers import Timers


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_is_due_runs_once_and_moved_deadlines_do_not() -> None:
    clock, ran = Clock(), list[str]()
    timers = Timers(clock)
    assert timers.patience() is None
    timers.set("late", 5, lambda: ran.append("late"))
    timers.set("early", 1, lambda: ran.append("early"))
    assert timers.patience() == 1
    timers.set("early", 2, lambda: ran.append("moved"))
    clock.now += 1.5
    timers.run()
    assert ran == []
    clock.now += 1
    timers.run()
    timers.run()
    assert ran == ["moved"] and "early" not in timers and "late" in timers
    clock.now += 10
    assert timers.patience() == 0, "one that is overdue is not waited for"


def test_an_action_can_drop_and_set_others_that_are_due() -> None:
    clock, ran = Clock(), list[str]()
    timers = Timers(clock)

    def first() -> None:
        timers.drop("second")
        timers.set("third", 1, lambda: ran.append("third, later"))

    timers.set("first", 0, first)
    timers.set("second", 0, lambda: ran.append("second"))
    timers.set("third", 0, lambda: ran.append("third"))
    timers.run()
    assert ran == []
    clock.now += 1
    timers.run()
    assert ran == ["third, later"]
