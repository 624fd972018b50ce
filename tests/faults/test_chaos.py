"""A short chaos run: scripts/bench/chaos with a few faults, and every law that it checks."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from scripts.chaos import plan
from tests.support import postgres
from tests.support.stack import ROOT

FAULTS = 6


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("servers", [[], ["--database", "postgresql", "--replicas", "2"]], ids=["sqlite", "postgresql"])
def test_a_few_random_faults_break_no_law(servers: list[str]) -> None:
    if servers and postgres.programs() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    command = [sys.executable, "-m", "scripts.chaos", "--faults", str(FAULTS), "--seed", "1108", "--json", *servers]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1100, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    report = json.loads(done.stdout)
    assert len(report["faults"]) == FAULTS and report["executions"] > FAULTS
    assert bool(servers) == any(fault["fault"]["kind"] in plan.SHARED for fault in report["faults"])
    assert {law["law"]: law["breaches"] for law in report["laws"] if law["breaches"]} == {}
    assert sum(law["tried"] for law in report["laws"]) > 1000
