"""Worker processes, with a real stack or with a control plane that answers as a test says."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import kept_code
from tests.support.stack import Process, Stack

KEY = "kby_secret_of_the_tests"
Start = Callable[..., Process]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, shared_temporal: str) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), temporal=shared_temporal) as running:
        yield running


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a worker against a URL; it is killed when the test ends."""
    started: list[Process] = []
    kept_code.share(tmp_path)

    def run(url: str, *arguments: str, module: str = "kubiya_worker.process.worker", **env: str) -> Process:
        environment = {
            "KUBIYA_API_KEY": KEY,
            "CONTROL_PLANE_GATEWAY_URL": url,
            "KUBIYA_ALIVE_FILE": str(tmp_path / "alive"),
            "KUBIYA_READY_FILE": str(tmp_path / "ready"),
            "KUBIYA_WORKSPACE": str(tmp_path / "workspaces"),
            "HOME": str(tmp_path),
            "QUEUE_ID": "default",
            **env,
        }
        process = Process([sys.executable, "-P", "-m", module, *arguments], environment, tmp_path)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
