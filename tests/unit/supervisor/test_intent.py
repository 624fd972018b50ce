"""The supervisor keeps in an intent what people ask of it; no process is needed to decide by it."""

from __future__ import annotations

from kubiya_worker._supervisor.intent import DRAIN, FORCE_AFTER, RESTART, STOP, Intent


def test_a_second_signal_forces_only_after_a_moment() -> None:
    intent = Intent()
    assert intent.stop(100.0) == ""
    assert not intent.forces(100.0 + FORCE_AFTER)
    assert intent.forces(100.1 + FORCE_AFTER)


def test_a_stop_says_what_was_asked_for_before() -> None:
    assert Intent(RESTART).stop(1.0) == RESTART
    assert Intent(DRAIN).stop(1.0) == DRAIN


def test_silence_counts_as_a_hang_until_the_child_is_to_end() -> None:
    assert Intent().watches() and Intent(DRAIN).watches()
    assert not Intent(RESTART).watches() and not Intent(STOP).watches()
    assert not Intent() and Intent(DRAIN)
