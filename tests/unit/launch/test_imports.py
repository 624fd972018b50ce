"""Commands about a worker that runs load no model's code: `kubiya worker status` is typed often, and by scripts."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("kubiya_worker.models", "requests", "urllib3", "yaml")


@pytest.mark.parametrize("module", ["report", "control", "drain"])
def test_what_reads_a_workers_state_loads_nothing_that_a_start_needs(module: str) -> None:
    code = f"import json, sys, kubiya_worker.launch.{module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert [name for name in json.loads(done.stdout) if name in HEAVY] == []
