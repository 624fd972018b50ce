"""./scripts/demo-alerts as a person starts it: the closed loop with a real Prometheus and a real Alertmanager."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.stack import ROOT

DEMO = str(ROOT / "scripts" / "demo-alerts")
HERE = all(any(map(shutil.which, names)) for names in (("prometheus",), ("alertmanager", "prometheus-alertmanager")))

pytestmark = [
    pytest.mark.slow,  # two monitors that look every second, and a stack
    pytest.mark.skipif(not (ROOT / ".venv" / "bin" / "python").exists(), reason="there is no .venv to use"),
    pytest.mark.skipif(not HERE, reason="Prometheus or Alertmanager is not here"),
]


def test_the_loop_is_closed_and_nothing_is_left(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    run = subprocess.run([DEMO, "--json"], env=environment, capture_output=True, text=True, timeout=280)
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["status"] == "completed" and "nothing is left to do" in result["answer"]
    (answer,) = result["answers"]
    assert answer["execution_id"] == result["execution_id"] and answer["hook"] == "disk-alerts"
    assert answer["alert"]["severity"] == "critical" and answer["alert"]["title"].startswith("DiskFull")
    assert list(tmp_path.iterdir()) == []
