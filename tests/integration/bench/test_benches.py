"""The benches run and say what they promise; what they measure in such small sizes means nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from scripts.bench import every, report
from tests.support.stack import ROOT

FIGURES = {
    "startup": "P1",
    "execution": "P2",
    "step": "P3",
    "first_token": "P4",
    "throughput": "P5",
    "long_run": "D3",
    "wide_team": "Teams",
    "rolling": "rolling",
    "scale_out": "scale-out",
    "actions": "actions",
    "install": "P6",
    "recovery": "recovery",
    "caching": "W5",
    "mcp": "MCP",
    "authority": "A2",
    "first_run": "P8",
    "page": "P10",
    "fan_out": "P9",
    "capacity": "P9",
    "confinement": "A5",
    "tracing": "Traces",
}
# These take more than ten seconds on two busy cores: they start many workers, install from a package index, or wait for
# a change to hold. The others run the same harness, and mypy checks all of them.
LONG = (
    "actions",
    "step",
    "execution",
    "tracing",
    "startup",
    "long_run",
    "wide_team",
    "rolling",
    "install",
    "caching",
    "mcp",
    "authority",
    "first_run",
    "page",
    "capacity",
    "first_token",
    "throughput",
    "recovery",
    "scale_out",
    "fan_out",
)


def run(name: str) -> str:
    argv = [sys.executable, "-m", "scripts.bench.every", "--quick", "--json", name]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_bench_of_the_list_has_its_figure() -> None:
    assert set(every.BENCHES) == set(FIGURES)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in LONG else []) for n in FIGURES])
def test_a_bench_prints_its_figure_beside_its_baseline_as_one_line_of_json(name: str) -> None:
    said = json.loads(run(name))
    assert said["quick"] and said["machine"]["cores"] and said["rows"]
    for row in said["rows"]:
        assert row["figure"] == FIGURES[name]
        assert {"median", "min", "max", "p95", "count"} == set(row["ours"])
        if row["figure"] == "MCP" and not row["baseline_is"]:
            continue  # what is left of a worker's servers: the SDK alone has no such thing
        assert row["baseline_is"] and set(row["baseline"]) == set(row["ours"])
    assert "| " + FIGURES[name] in report.markdown([every.row_of(raw) for raw in said["rows"]])
