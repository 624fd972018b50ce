"""A worker loads after it is ready what every run needs, and the extras that are used."""

from __future__ import annotations

import importlib
import sys
import threading
from pathlib import Path

import pytest

from kubiya_worker.import_lock import IMPORTS
from kubiya_worker.process.preload import extras, load


@pytest.mark.parametrize("environ", [{}, {"ANTHROPIC_API_KEY": ""}, {"PATH": "/bin"}])
def test_an_extra_without_its_key_is_left_out(environ: dict[str, str]) -> None:
    assert extras(environ) == []


def test_an_extra_with_its_key_is_loaded_when_it_is_installed() -> None:
    pytest.importorskip("anthropic", reason="pip install 'kubiya-worker[anthropic]'")
    assert "pydantic_ai.models.anthropic" in extras({"ANTHROPIC_API_KEY": "sk-ant-test"})


def test_what_cannot_be_imported_is_told_and_the_rest_is_loaded() -> None:
    faults = load(["no_such_module_here", "json"])
    assert len(faults) == 1 and faults[0].startswith("no_such_module_here: ModuleNotFoundError")


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
