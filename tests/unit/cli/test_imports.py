"""A command that only asks the control plane starts without what workers and their steps need."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("asyncio", "kubiya_worker.protocol.calls", "kubiya_worker.tracing.spans", "requests", "temporalio")
ASK = """
import json, sys
from kubiya_worker.cli.main import main
sys.argv = ["kubiya", *json.loads(sys.argv[1]), "--help"]
try:
    main()
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.parametrize("command", [["jobs", "ls"], ["runs", "ls"], ["apply"], ["exec", "agent"], ["approvals", "ls"]])
def test_it_loads_nothing_that_only_a_worker_needs(command: list[str]) -> None:
    argv = [sys.executable, "-c", ASK, json.dumps(command)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "kubiya_worker.control_plane.client" in loaded
    assert loaded.isdisjoint(HEAVY), loaded.intersection(HEAVY)
