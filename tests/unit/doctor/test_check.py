"""A check runs after those that it needs, and the report tells all of their findings."""

from __future__ import annotations

from kubiya_worker.doctor.check import FAIL, PASS, SKIP, WARN, Check, Finding, Report, examine
from kubiya_worker.errors import NotAllowed


def _check(name: str, status: str, *needs: str) -> Check:
    return Check(name, "test", lambda: Finding(status, f"{name} is looked at"), needs)


def test_a_check_is_skipped_when_what_it_needs_failed_or_was_skipped() -> None:
    report = Report()
    todo = [_check("a", FAIL), _check("b", PASS, "a"), _check("c", PASS, "b"), _check("d", PASS)]
    assert [r.finding.status for r in examine(todo, report)] == [FAIL, SKIP, SKIP, PASS]
    assert report.results[1].finding.message == "not checked: it needs 'a'"
    assert report.overall == "unhealthy"


def test_a_warning_is_good_enough_for_what_builds_on_it() -> None:
    report = Report()
    assert [r.finding.status for r in examine([_check("a", WARN), _check("b", PASS, "a")], report)] == [WARN, PASS]
    assert report.overall == "degraded"


def test_an_error_of_ours_is_a_failure_with_its_remedy() -> None:
    def look() -> Finding:
        raise NotAllowed("The key is wrong", remedy="Check KUBIYA_API_KEY")

    report = Report()
    list(examine([Check("key", "test", look)], report))
    assert report.results[0].finding == Finding(FAIL, "The key is wrong", "Check KUBIYA_API_KEY")


def test_a_fault_of_a_check_costs_its_line_and_not_the_report() -> None:
    def look() -> Finding:
        raise UnicodeError("label empty or too long")

    found = [r.finding for r in examine([Check("odd", "test", look), _check("b", PASS)], Report())]
    assert [f.status for f in found] == [FAIL, PASS]
    assert "UnicodeError: label empty" in found[0].message and found[0].remedy


def test_the_report_counts_and_has_the_published_shape() -> None:
    report = Report()
    list(examine([_check("a", PASS), _check("b", WARN), _check("c", SKIP)], report))
    told = report.wire()
    assert told["summary"] == {"total": 3, "passed": 1, "failed": 0, "warnings": 1, "skipped": 1}
    assert told["overall"] == "degraded"
    assert set(told["checks"][0]) == {"name", "category", "status", "message", "duration_ms"}
