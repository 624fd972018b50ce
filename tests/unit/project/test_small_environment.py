"""The small environment of ./scripts/test --unit skips a module only for a package that it leaves out on purpose."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.unit import conftest

ROOT = Path(__file__).parents[3]


def failure(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> BaseException:
    """Return what pytest has in hand when a module with this source cannot be imported."""
    (folder / "broken_module.py").write_text(source)
    monkeypatch.syspath_prepend(str(folder))
    try:
        importlib.import_module("broken_module")
    except Exception as error:
        wrapped = pytest.Collector.CollectError("ImportError while importing test module")
        wrapped.__cause__ = error
        return wrapped
    raise AssertionError("the module was imported")


def test_a_package_that_is_left_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "OPTIONAL", ("left_out",))
    assert conftest.missing_package(failure("import left_out.part\n", tmp_path, monkeypatch)) == "left_out"


@pytest.mark.parametrize(
    "source",
    [
        "import not_known_at_all\n",  # a typing mistake
        "import kubiya_worker.no_such_module\n",
        "from pathlib import NoSuchName\n",
        "raise ValueError('left_out')\n",
        "import json.left_out\n",  # the name of the package within another one
    ],
)
def test_every_other_failure_stays_one(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "OPTIONAL", ("left_out", "pathlib"))
    assert conftest.missing_package(failure(source, tmp_path, monkeypatch)) == ""


def test_its_packages_are_part_of_the_whole_development_environment() -> None:
    extras = (ROOT / "setup.cfg").read_text()
    assert "\ndev =\n    %(unit)s\n" in extras
