"""The tests that run on PostgreSQL too are derived: a test of the control plane is found, and no other one."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support import database_tests
from tests.support.database_tests import PLACES, ROOT, reach

CHOSEN = (
    "tests/unit/server/test_audit.py",
    "tests/integration/jobs/test_jobs.py",
    "tests/unit/project/test_version.py",
)


def test_imports_are_followed_through_other_modules() -> None:
    assert PLACES in reach("tests.support.api") and PLACES in reach("tests.support.stack")
    assert PLACES in reach("tests.unit.server.test_audit")
    assert PLACES not in reach("tests.unit.project.test_version")
    assert database_tests.imported("tests.nothing") == frozenset()


def test_a_test_is_chosen_by_its_imports_and_fixtures() -> None:
    argv = [sys.executable, "-m", "pytest", "--co", "-q", "-p", "no:cacheprovider", *CHOSEN]
    environ = {**os.environ, "KUBIYA_TEST_ONLY": "database"}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    files = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    assert files == set(CHOSEN[:2]), done.stdout[-3000:]
