"""A worker loads after it is ready what every run needs, and the extras that are used."""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kubiya_worker import garbage
from kubiya_worker.import_lock import IMPORTS
from kubiya_worker.process import preload
from kubiya_worker.process.counters import ActivityCounts
from kubiya_worker.process.late_steps import CODE
from kubiya_worker.process.preload import extras, load, needed, until_quiet


@pytest.mark.parametrize("environ", [{}, {"ANTHROPIC_API_KEY": ""}, {"PATH": "/bin"}])
def test_an_extra_without_its_key_is_left_out(environ: dict[str, str]) -> None:
    assert extras(environ) == []


def test_an_extra_with_its_key_is_loaded_when_it_is_installed() -> None:
    pytest.importorskip("anthropic", reason="pip install 'kubiya-worker[anthropic]'")
    assert "pydantic_ai.models.anthropic" in extras({"ANTHROPIC_API_KEY": "sk-ant-test"})


def test_what_asks_models_is_left_out_where_only_the_demo_model_can_be_asked() -> None:
    asks, tools = "kubiya_worker.models.session", "yaml"
    assert {asks, tools} <= set(needed({}, endpoint=True))
    alone = needed({}, endpoint=False)
    assert asks not in alone and tools in alone and alone[0] == CODE[0]


def test_a_worker_without_extras_loads_all_without_a_fault() -> None:
    """Each fault is a warning in the log of every start."""
    program = """
import sys
from kubiya_worker.process.preload import load, needed
for package in ("mcp", "anthropic", "google.genai", "boto3", "pydantic_ai", "openai"):
    sys.modules[package] = None  # as if it were not installed
print(load(needed({"ANTHROPIC_API_KEY": "sk-ant-test"}, endpoint=True)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_a_key_of_a_provider_says_that_models_are_asked() -> None:
    pytest.importorskip("anthropic", reason="pip install 'kubiya-worker[anthropic]'")
    assert "kubiya_worker.models.session" in needed({"ANTHROPIC_API_KEY": "sk-ant-test"}, endpoint=False)


def test_what_cannot_be_imported_is_told_and_the_rest_is_loaded() -> None:
    faults = load(["no_such_module_here", "json"])
    assert len(faults) == 1 and faults[0].startswith("no_such_module_here: ModuleNotFoundError")


def test_python_looks_for_no_garbage_while_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such looks take a tenth of the time, and find nothing: what is imported stays."""
    looked: list[bool] = []

    def load(_: object) -> list[str]:
        looked.append(gc.isenabled())
        return []

    monkeypatch.setattr(preload, "load_kept", load)
    monkeypatch.setattr(preload, "load", load)
    monkeypatch.setattr(preload, "QUIET_FOR", 0)
    monkeypatch.setattr(garbage, "keep_loaded", lambda: looked.append(gc.isenabled()))
    asyncio.run(preload.preload({}, lambda: ActivityCounts(0, 0, 0), endpoint=False))
    assert looked == [False, True] * (2 if importlib.util.find_spec("mcp") else 1)


def test_the_mcp_client_waits_until_no_step_has_run_for_a_while() -> None:
    seen = [
        ActivityCounts(1, 0, 0),
        ActivityCounts(1, 0, 0),  # the same step still runs
        ActivityCounts(0, 1, 0),
        ActivityCounts(0, 2, 0),  # one began and ended meanwhile
        ActivityCounts(0, 2, 0),
        ActivityCounts(0, 3, 0),
    ]
    counts = iter(seen)
    asyncio.run(until_quiet(lambda: next(counts), 0))
    assert list(counts) == [seen[-1]]


def test_a_package_that_a_run_imports_is_not_imported_from_the_other_end_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python gives one of two threads a half-initialized module when both import a circle of modules."""
    (tmp_path / "circle_a.py").write_text("import time\ntime.sleep(0.3)\nfrom circle_b import B\nA = 1\n")
    (tmp_path / "circle_b.py").write_text("import time\nB = 1\ntime.sleep(0.3)\nimport circle_a\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    faults: list[str] = []
    preloading = threading.Thread(target=lambda: faults.extend(load(["circle_a"])))
    with IMPORTS:
        preloading.start()
        importlib.import_module("circle_b")
        assert "circle_a" in sys.modules
    preloading.join(60)
    assert faults == [] and sys.modules["circle_a"].A == 1
