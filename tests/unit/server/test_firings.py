"""Times of a schedule that started nothing are listed with their reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kubiya_worker.server.firings import MISSED, OVERLAP, SHOWN, WAITS, Going, Timetable, left_out

NINE = datetime(2026, 11, 27, 9, tzinfo=UTC)


def at(minutes: int) -> datetime:
    return NINE + timedelta(minutes=minutes)


def reasons(times: Timetable, runs: list[Going], policy: str = "skip") -> dict[int, tuple[str, str | None]]:
    return {
        round((datetime.fromisoformat(one["at"]) - NINE).total_seconds() / 60): (one["reason"], one["execution_id"])
        for one in left_out(times, runs, policy)
    }


def test_a_time_in_which_a_run_was_going_names_that_run() -> None:
    times = Timetable((), skipped=2, passed=[at(0), at(10), at(20), at(30)], started=[at(0), at(30)])
    runs = [Going("long", at(0), at(25))]
    assert reasons(times, runs) == {20: (OVERLAP, "long"), 10: (OVERLAP, "long")}
    assert left_out(times, runs, "skip")[0]["text"] == "the execution before it was still going"


def test_a_time_that_temporal_missed_is_told_apart_from_one_that_it_left_out() -> None:
    passed = [at(minutes) for minutes in (0, 10, 20, 30)]
    runs = [Going("long", at(0), at(15))]
    both = Timetable((), skipped=1, missed=1, passed=passed, started=[at(0), at(30)])
    assert reasons(both, runs) == {20: (MISSED, None), 10: (OVERLAP, "long")}
    away = Timetable((), missed=2, passed=passed, started=[at(0), at(30)])
    assert reasons(away, runs) == {20: (MISSED, None), 10: (MISSED, None)}


def test_a_run_without_a_row_yet_is_in_the_way_too() -> None:
    times = Timetable((), skipped=1, missed=1, running=True, passed=[at(0), at(10)], started=[at(0)])
    assert reasons(times, []) == {10: (OVERLAP, None)}


def test_a_buffered_time_waits_and_those_after_it_are_left_out() -> None:
    times = Timetable((), skipped=1, waiting=1, running=True, passed=[at(0), at(10), at(20)], started=[at(0)])
    runs = [Going("long", at(0), None)]
    assert reasons(times, runs, "buffer_one") == {10: (WAITS, "long"), 20: (OVERLAP, "long")}


def test_the_latest_times_are_told() -> None:
    times = Timetable((), skipped=50, passed=[at(minutes) for minutes in range(60)], started=[at(0)])
    found = left_out(times, [], "skip")
    assert len(found) == SHOWN
    assert found[0]["at"] == at(59).isoformat()
