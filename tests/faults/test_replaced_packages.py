"""`pip install -U` under a worker that has work: no run fails.

The worker runs from an environment of its own. Meanwhile `pip` replaces the package itself, and its dependencies are
taken away and written again, file by file, as `pip` does it.
"""

from __future__ import annotations

import shutil
import site
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import ROOT, Stack

ROUNDS = 3
AT_ONCE = 4
REPLACED = ("pydantic_ai", "openai", "anyio", "mcp", "requests", "urllib3", "structlog", "yaml", "temporalio")
SKILLS = [
    {"name": "files", "type": "file_system", "configuration": {}},
    {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"]}},
]
CALLS = [{"name": "shell", "arguments": {"command": "true"}}, {"name": "list_files", "arguments": {}}]
STEPS: list[dict[str, Any]] = [{"tools": CALLS}, {"tools": CALLS[:1]}, {"text": "done"}]


class Installed:
    """A virtual environment with the worker in it; what is not replaced comes from this one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rounds = folder, 0
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        self.python = folder / "venv" / "bin" / "python"
        (self.packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (self._others,) = {Path(path) for path in site.getsitepackages()}
        (self.packages / "others.pth").write_text(f"{self._others}\n")
        for name in REPLACED:
            shutil.copytree(self._others / name, self.packages / name)
        self.upgrade()
        where = "import kubiya_worker, temporalio; print(kubiya_worker.__file__, temporalio.__file__)"
        found = subprocess.run([self.python, "-P", "-c", where], check=True, capture_output=True, text=True).stdout
        assert all(path.startswith(str(self.packages)) for path in found.split()), found

    def upgrade(self) -> None:
        """Install the next version of the package over the one that is there."""
        self.rounds += 1
        wheel = self._wheel(f"99.{self.rounds}")
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "-q", "-U", "--no-deps", "--no-index", str(wheel)], check=True)

    def _wheel(self, version: str) -> Path:
        path, info = self.folder / f"kubiya_worker-{version}-py3-none-any.whl", f"kubiya_worker-{version}.dist-info"
        with zipfile.ZipFile(path, "w") as wheel:
            for file in sorted((ROOT / "kubiya_worker").rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts and "_supervisor" not in file.parts:
                    wheel.write(file, file.relative_to(ROOT))
            for file in sorted((ROOT / "supervisor").rglob("*.py")):
                wheel.write(file, Path("kubiya_worker", "_supervisor", file.relative_to(ROOT / "supervisor")))
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: kubiya-worker\nVersion: {version}\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
        return path

    def rewrite_dependencies(self) -> None:
        """Take each dependency away as a whole, then write it again."""
        for name in REPLACED:
            (self.packages / name).rename(self.folder / "away")
            shutil.copytree(self._others / name, self.packages / name)
            shutil.rmtree(self.folder / "away")


class Load:
    """Runs without a pause, `AT_ONCE` of them at the same time, until `end`."""

    def __init__(self, stack: Stack, agent: str) -> None:
        self._stack, self._agent, self._over = stack, agent, threading.Event()
        self.rows: list[dict[str, Any]] = []
        self._threads = [threading.Thread(target=self._run) for _ in range(AT_ONCE)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            self.rows.append(self._stack.wait(self._stack.execute("go", agent=self._agent), timeout=120))

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(150)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path) as running:
        yield running


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_run_fails_while_its_packages_are_replaced(own: Stack, tmp_path: Path) -> None:
    installed = Installed(tmp_path)
    with ModelEndpoint(by_step=STEPS) as endpoint:
        variables = {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "sk-test", "PYTHONPATH": ""}
        argv = [str(installed.python), "-P", "-m", "kubiya_worker.process.worker", "--queue-id", "default"]
        worker = own.start(argv, own.worker_environment(**variables))
        worker.expect("worker.loaded")
        load = Load(own, own.agent("loaded", model_id="gpt-test", skills=SKILLS))
        try:
            for _ in range(ROUNDS):
                before = len(load.rows)
                installed.upgrade()
                installed.rewrite_dependencies()
                while len(load.rows) < before + AT_ONCE:  # runs end in each round, some of which began within it
                    threading.Event().wait(0.05)
        finally:
            load.end()
    print(f"{len(load.rows)} runs while all packages were replaced {ROUNDS} times")
    assert {row["status"] for row in load.rows} == {"completed"}
    assert len(load.rows) >= ROUNDS * AT_ONCE
    assert not [line for line in worker.lines if "must_restart" in line or "Traceback" in line]
