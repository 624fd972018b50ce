"""The loop of a supervisor waits for a real pipe, by a clock that is passed in."""

from __future__ import annotations

import os

from kubiya_worker._supervisor.loop import Loop


def test_a_turn_calls_what_belongs_to_a_source_and_to_a_timer() -> None:
    now, called = [0.0], list[str]()
    loop = Loop(lambda: now[0])
    reader, writer = os.pipe()
    loop.watch(reader, lambda: called.append(os.read(reader, 9).decode()))
    loop.timers.set("late", 5.0, lambda: called.append("timer"))
    os.write(writer, b"a byte")
    loop.turn()
    assert called == ["a byte"]
    now[0] = 5.0
    loop.turn()
    assert called == ["a byte", "timer"]
    os.close(reader)
    os.close(writer)


def test_an_ignored_source_is_not_called_and_may_be_ignored_twice() -> None:
    loop, called = Loop(), list[str]()
    reader, writer = os.pipe()
    loop.watch(reader, lambda: called.append("heard"))
    loop.ignore(reader)
    loop.ignore(reader)
    os.write(writer, b"x")
    loop.timers.set("now", 0.0, lambda: called.append("timer"))
    loop.turn()
    assert called == ["timer"]
    os.close(reader)
    os.close(writer)
