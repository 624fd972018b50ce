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


def modules_of_help(command: list[str]) -> set[str]:
    argv = [sys.executable, "-c", ASK, json.dumps(command)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("command", [["jobs", "ls"], ["runs", "ls"], ["apply"], ["exec", "agent"], ["approvals", "ls"]])
def test_it_loads_nothing_that_only_a_worker_needs(command: list[str]) -> None:
    loaded, heavy = modules_of_help(command), (*HEAVY, "kubiya_worker.control_plane.client")
    assert "kubiya_worker.cli.connection" in loaded
    assert loaded.isdisjoint(heavy), loaded.intersection(heavy)


@pytest.mark.parametrize(
    ("command", "heavy"),
    [
        (["doctor"], (*HEAVY, "kubiya_worker.models", "kubiya_worker.process.runtime")),
        (["models", "ls"], ("kubiya_worker.activities", "kubiya_worker.process.runtime", "temporalio")),
        (["mcp", "ls"], ("kubiya_worker.tools.mcp", "temporalio")),
    ],
)
def test_a_help_text_loads_nothing_that_only_the_commands_work_needs(
    command: list[str], heavy: tuple[str, ...]
) -> None:
    loaded = modules_of_help(command)
    assert f"kubiya_worker.cli.{command[0]}" in loaded
    assert loaded.isdisjoint(heavy), loaded.intersection(heavy)
