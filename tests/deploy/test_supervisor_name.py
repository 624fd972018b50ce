"""Our supervisor beside the distribution `supervisor` of the package index: neither breaks the other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OTHER = "supervisor==4.3.0"
OURS = "kubiya-worker"
# Of our dependencies those that a supervisor needs; the others would be 140 MB.
NEEDED = ("python-daemon>=3.1,<4", "psutil>=6,<8")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Environment:
    """A virtual environment with a pip of its own."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True, symlinks=True)
        self.folder, self.bin = folder, folder / "bin"
        self.pip("install", *NEEDED)

    def pip(self, *words: str) -> None:
        self.run("-m", "pip", "--quiet", "--disable-pip-version-check", *words)

    def run(self, *words: str, stdin: str = "", **environment: str) -> str:
        done = subprocess.run(
            [self.bin / "python", *words],
            input=stdin,
            env={**os.environ, **environment},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def supervises(self, **environment: str) -> None:
        """Check that our supervisor runs a program to its end."""
        proof = self.folder / "proof"
        files = {f"{name}_file": str(self.folder / name) for name in ("pid", "log", "state")}
        spec = {"argv": ["/usr/bin/env", "touch", str(proof)], "notify": False, **files}
        words = ("-P", "-m", "kubiya_worker._supervisor", "--spec-fd", "0", "--foreground")
        self.run(*words, stdin=json.dumps(spec), **environment)
        proof.unlink()

    def other_works(self) -> None:
        """Check that supervisord and its client can be imported and started."""
        done = subprocess.run([self.bin / "supervisord", "--version"], capture_output=True, text=True, timeout=60)
        assert done.stdout.strip() == OTHER.partition("==")[2], done.stderr
        self.run("-c", "import supervisor.supervisorctl, supervisor.rpcinterface")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree without what an earlier build has left."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("kubiya_worker", "supervisor"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(sources)]
    subprocess.run(command, check=True, timeout=300)
    (found,) = out.glob("*.whl")
    return found


def test_the_wheel_holds_the_supervisor_and_takes_no_other_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    sources = {path.relative_to(ROOT / "supervisor").as_posix() for path in (ROOT / "supervisor").rglob("*.py")}
    prefix = "kubiya_worker/_supervisor/"
    assert {name.removeprefix(prefix) for name in names if name.startswith(prefix)} == sources
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"kubiya_worker"}


@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize("ours_stays", [True, False])
def test_both_distributions_work_in_every_order(
    wheel: Path, tmp_path: Path, ours_first: bool, ours_stays: bool
) -> None:
    there = Environment(tmp_path / "venv")
    ours, other = ("install", "--no-deps", str(wheel)), ("install", OTHER)
    for words in (ours, other) if ours_first else (other, ours):
        there.pip(*words)
    there.supervises()
    there.other_works()
    there.pip("uninstall", "--yes", "supervisor" if ours_stays else OURS)
    if ours_stays:
        there.supervises()
    else:
        there.other_works()


def test_another_supervisor_earlier_on_the_path_changes_nothing(wheel: Path, tmp_path: Path) -> None:
    there = Environment(tmp_path / "venv")
    there.pip("install", "--no-deps", str(wheel))
    there.pip("install", "--no-deps", "--target", str(tmp_path / "before"), OTHER)
    there.supervises(PYTHONPATH=str(tmp_path / "before"))


def test_an_editable_installation_and_a_tree_on_the_path_work(sources: Path, tmp_path: Path) -> None:
    there = Environment(tmp_path / "venv")
    there.supervises(PYTHONPATH=str(sources))
    there.pip("install", OTHER)
    there.pip("install", "--no-deps", "--editable", str(sources))
    there.supervises()
    there.other_works()
