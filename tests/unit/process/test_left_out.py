"""A package is left out for a moment: imports of it fail meanwhile, and not later."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from kubiya_worker.process.left_out import left_out


def test_a_package_is_missing_meanwhile_and_there_again_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "heavy_package.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with left_out("heavy_package"), pytest.raises(ImportError):
        importlib.import_module("heavy_package")
    loaded = importlib.import_module("heavy_package")
    with left_out("heavy_package"):
        assert sys.modules["heavy_package"] is loaded
    monkeypatch.delitem(sys.modules, "heavy_package")
