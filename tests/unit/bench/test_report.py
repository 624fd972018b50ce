"""Benches: the numbers of a series, bars, tables."""

from __future__ import annotations

from scripts.bench import report
from scripts.bench.report import Row, Spread


def test_a_spread_has_the_nearest_rank_as_its_p95() -> None:
    spread = Spread.of([float(n) for n in range(100, 0, -1)])
    assert (spread.median, spread.min, spread.max, spread.p95, spread.count) == (50.5, 1.0, 100.0, 95.0, 100)
    assert Spread.of([3.0]).p95 == 3.0


def test_bars_are_judged_by_the_median_or_by_what_they_name() -> None:
    ours, base = Spread.of([1.0, 2.0, 9.0]), Spread.of([2.0])
    assert report.below(3)(ours, None) and not report.below(3, of="p95")(ours, None)
    assert report.at_most(1.0)(ours, base) and not report.at_most(0.9)(ours, base)
    assert report.at_least(1.0)(ours, base) and not report.at_least(1.1)(ours, base)
    assert not report.at_most(1.5)(ours, None)  # without a baseline nothing is shown


def test_pairs_are_taken_in_turn_after_the_warm_up() -> None:
    order: list[str] = []

    def take(name: str) -> float:
        order.append(name)
        return float(len(order))

    ours, base = report.alternate(2, lambda: take("ours"), lambda: take("base"), warm=1)
    assert order == ["base", "ours", "base", "ours", "ours", "base"]
    assert (ours.count, base.count) == (2, 2)


def test_a_missed_bar_is_seen_in_the_table() -> None:
    row = Row(
        "P2", "one execution", "s", Spread.of([0.5, 0.4]), "bare", Spread.of([0.1]), "< 0.25 s", report.below(0.25)
    )
    assert report.markdown([row]).splitlines()[-1] == (
        "| P2 | one execution | s | 0.450 (0.400 to 0.500, n=2) | 0.100 · bare | 4.50 | < 0.25 s | **missed** |"
    )
    assert "missed" in report.text([row])
