"""`pip install -U` under a worker that has work: no run fails.

The worker runs from an environment of its own. Meanwhile `pip` replaces the package itself, and its dependencies are
taken away and written again, file by file, as `pip` does it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.installed import Installed
from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Stack

ROUNDS = 3
AT_ONCE = 4
SKILLS = [
    {"name": "files", "type": "file_system", "configuration": {}},
    {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"]}},
]
CALLS = [{"name": "shell", "arguments": {"command": "true"}}, {"name": "list_files", "arguments": {}}]
STEPS: list[dict[str, Any]] = [{"tools": CALLS}, {"tools": CALLS[:1]}, {"text": "done"}]


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
