"""Tests of the sizes in docs/scaling.md, and of `scripts/capacity.py`, which calculates them."""

from __future__ import annotations

from dataclasses import replace

from scripts.capacity import MAGNITUDES, Constants, limits, shards_for, size_for, table
from tests.support.stack import ROOT


def test_the_table_is_what_the_program_prints() -> None:
    assert table() in (ROOT / "docs" / "scaling.md").read_text(), "run scripts/capacity.py and put its table there"


def test_more_executions_never_take_less() -> None:
    sizes = [size_for(each, Constants()) for each in (1, *MAGNITUDES)]
    for name in ("workers", "replicas", "commits", "gigabytes", "shards", "temporal_cores", "dollars_a_month"):
        values = [getattr(size, name) for size in sizes]
        assert values == sorted(values), name


def test_sqlite_serves_up_to_its_limit_and_not_beyond() -> None:
    known = Constants()
    most = limits(known)["SQLite, or the one core of its server"]
    assert size_for(int(most * 0.99), known).database == "SQLite"
    beyond = size_for(int(most * 1.01), known)
    assert (beyond.database, beyond.replicas >= 2) == ("PostgreSQL", True)
    assert "PostgreSQL" in beyond.breaks_first


def test_slots_are_seconds_in_calls_at_the_peak() -> None:
    known = replace(Constants(), peak=1.0, busy=1.0, call_seconds=35.0, slots=50)
    assert size_for(1_000_000, known).workers == 9  # 11.6 a second, 35 s each, 50 at once


def test_shards_are_a_power_of_two() -> None:
    assert [shards_for(each, Constants()) for each in (0, 80, 81, 10_000)] == [4, 4, 8, 512]
