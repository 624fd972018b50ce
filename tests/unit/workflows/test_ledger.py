"""The budget of a team, and the clock of a member."""

from __future__ import annotations

from kubiya_worker.protocol.execution import Usage
from kubiya_worker.workflows.ledger import Ledger
from kubiya_worker.workflows.stopwatch import Stopwatch


def test_an_account_says_all_that_was_used_so_a_report_that_comes_twice_counts_once() -> None:
    ledger = Ledger()
    for _ in range(2):
        ledger.note("a", 2, Usage(10, 1))
        ledger.note("b", 1, Usage(5, 5))
    assert ledger.steps == 3
    assert ledger.usage("none", Usage()) == Usage(15, 6)


def test_a_grant_counts_at_once_and_the_last_report_takes_back_what_was_not_used() -> None:
    ledger = Ledger()
    ledger.note("a", 2, Usage())
    ledger.grant("a", 3)
    assert ledger.steps == 3
    ledger.note("a", 2, Usage())
    assert ledger.steps == 2


def test_what_an_account_has_used_by_now_replaces_what_it_said() -> None:
    ledger = Ledger()
    ledger.note("root", 1, Usage(1, 1))
    ledger.note("a", 1, Usage(2, 2))
    assert ledger.usage("root", Usage(10, 10)) == Usage(12, 12)


def test_a_ledger_goes_through_continue_as_new() -> None:
    ledger = Ledger()
    ledger.note("a", 2, Usage(10, 1, 3, 4))
    again = Ledger(ledger.snapshot())
    assert (again.steps, again.usage("", Usage())) == (2, Usage(10, 1, 3, 4))


def test_time_with_any_reason_to_wait_is_not_work() -> None:
    clock = Stopwatch(100.0)
    clock.wait("approval 1", 110.0)
    clock.wait("pause", 115.0)
    clock.go_on("approval 1", 120.0)
    assert (clock.worked(125.0), clock.waiting) == (10.0, True)
    clock.go_on("pause", 130.0)
    clock.go_on("pause", 135.0)
    assert (clock.worked(140.0), clock.waited(140.0), clock.waiting) == (20.0, 20.0, False)
