"""A plan of faults follows from its seed, and holds every kind that this host allows."""

from __future__ import annotations

from scripts.chaos import plan


def test_a_seed_says_it_all() -> None:
    assert plan.make(50, 11) == plan.make(50, 11) != plan.make(50, 12)


def test_the_first_faults_of_many_are_those_of_few() -> None:
    assert plan.make(200, 3)[:20] == plan.make(20, 3)


def test_each_kind_comes_before_any_comes_twice() -> None:
    assert {fault.kind for fault in plan.make(len(plan.KINDS), 7)} == set(plan.KINDS)


def test_times_are_within_their_bounds_and_only_the_clock_is_stepped() -> None:
    for fault in plan.make(500, 5):
        _, shortest, longest = plan.KINDS[fault.kind]
        assert shortest <= fault.seconds <= longest and 0 <= fault.pause <= plan.LONGEST_PAUSE
        assert (fault.kind == "step-clock") == bool(fault.step)


def test_what_cannot_be_done_here_is_not_planned() -> None:
    kinds = ("kill-worker", "sighup")
    assert {fault.kind for fault in plan.make(30, 1, kinds)} == set(kinds)


def test_a_shared_database_adds_faults_and_changes_no_plan_without_one() -> None:
    kinds = (*plan.KINDS, *plan.SHARED)
    assert {fault.kind for fault in plan.make(len(kinds), 7, kinds)} == set(kinds)
    assert not {fault.kind for fault in plan.make(500, 7)} & set(plan.SHARED)


def test_a_fault_is_told_in_words() -> None:
    assert str(plan.Fault(1, "step-clock", 0.0, 2.0, -3600.0)) == "step-clock 2.0 s by -3,600 s"
    assert str(plan.Fault(1, "kill-worker", 0.0, 0.0)) == "kill-worker"
