"""A check examines one thing and returns a finding; a report has the findings of all (protocol.md#f10 `doctor`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from kubiya_worker.errors import WorkerError

PASS: Final = "pass"  # noqa: S105 - a verdict
FAIL: Final = "fail"
WARN: Final = "warning"
SKIP: Final = "skip"


@dataclass(frozen=True)
class Finding:
    """The result of examining one thing. `remedy` is a command or a sentence that fixes it; empty if it passed."""

    status: str
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class Check:
    """One check. It is skipped unless every check named in `needs` has passed."""

    name: str
    category: str
    run: Callable[[], Finding]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    check: Check
    finding: Finding
    seconds: float

    def wire(self) -> dict[str, Any]:
        result = {
            "name": self.check.name,
            "category": self.check.category,
            "status": self.finding.status,
            "message": self.finding.message,
            "duration_ms": round(self.seconds * 1000, 1),
        }
        return {**result, "remediation": self.finding.remedy} if self.finding.remedy else result


@dataclass
class Report:
    results: list[Result] = field(default_factory=list)

    def count(self, status: str) -> int:
        return sum(result.finding.status == status for result in self.results)

    @property
    def overall(self) -> str:
        if self.count(FAIL):
            return "unhealthy"
        return "degraded" if self.count(WARN) else "healthy"

    def wire(self) -> dict[str, Any]:
        return {
            "timestamp": datetime.now(UTC).isoformat(),
            "overall": self.overall,
            "checks": [result.wire() for result in self.results],
            "summary": {
                "total": len(self.results),
                "passed": self.count(PASS),
                "failed": self.count(FAIL),
                "warnings": self.count(WARN),
                "skipped": self.count(SKIP),
            },
        }


def examine(checks: Sequence[Check], report: Report) -> Iterator[Result]:
    """Run the checks in order; add each result to the report and yield it."""
    verdicts: dict[str, str] = {}
    for check in checks:
        missing = [name for name in check.needs if verdicts.get(name) not in (PASS, WARN)]
        began = time.monotonic()
        finding = Finding(SKIP, f"not checked: it needs {missing[0]!r}") if missing else _run(check)
        verdicts[check.name] = finding.status
        result = Result(check, finding, time.monotonic() - began)
        report.results.append(result)
        yield result


def _run(check: Check) -> Finding:
    try:
        return check.run()
    except WorkerError as error:
        return Finding(FAIL, error.message, error.remedy)
    except OSError as error:
        return Finding(FAIL, f"{error.strerror or error}")
    except Exception as error:  # an odd reply or a bug in one check must not end the whole report
        return Finding(FAIL, f"the check itself failed: {type(error).__name__}: {error}", "Please report this")
