"""Some of the control plane's tests once more, with its data on PostgreSQL; ./scripts/test --postgres runs all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import postgres
from tests.support.databases import POSTGRESQL

HERE = Path(__file__).parent
TWICE = (
    "test_effect_runs.py",
    "test_approvers.py",
    "test_execution_lists.py",
    "test_audit.py",
    "test_effect_writes.py",
    "test_budget_notices.py",
)


@pytest.mark.skipif(postgres.programs() is None, reason="PostgreSQL is not installed (apt-get install postgresql)")
@pytest.mark.skipif(POSTGRESQL, reason="all of them run there now")
def test_the_same_tests_pass() -> None:
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
        *(str(HERE / name) for name in TWICE),
    ]
    environ = {**os.environ, "KUBIYA_TEST_DATABASE": "postgresql"}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, cwd=HERE.parents[2])
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
