"""`kubiya dev` as a process, in a home of its own, on free ports."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.stack import BIN, Process, wait_until

PORTS = ("--port", "0", "--temporal-port", "0", "--ui-port", "0")


class Dev:
    """One run of `kubiya dev`. `home` holds ~/.kubiya/dev and survives it."""

    def __init__(self, home: Path, *arguments: str, json: bool = True, ports: bool = True, **env: str) -> None:
        self.home = home
        self.state = home / ".kubiya" / "dev"
        argv = [str(BIN / "kubiya"), "dev", *(PORTS if ports else ()), *(("--json",) if json else ()), *arguments]
        self.process = Process(argv, {"HOME": str(home), "COLUMNS": "200", **env}, home)
        self.facts: dict[str, Any] = {}

    def ready(self, timeout: float = 90.0) -> Dev:
        self.facts = json.loads(self.process.expect('^{"event": "ready"', timeout))
        return self

    def tree(self) -> dict[str, psutil.Process]:
        """The processes that do the work, by name; without their guards."""
        found = {}
        for process in psutil.Process(self.process.pid).children(recursive=True):
            argv = process.cmdline()
            if any(part.endswith("guard.py") for part in argv):
                continue
            text = " ".join(argv)
            for name, mark in {
                "temporal": "start-dev",
                "control-plane": "kubiya_worker.server",
                "worker": "worker.py",
            }.items():
                if mark in text:
                    found[name] = process
        return found

    def everything(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def environment(self) -> dict[str, str]:
        """What `. ~/.kubiya/dev/env` sets, as a shell reads it."""
        import subprocess

        shell = subprocess.run(
            ["/bin/sh", "-c", f". '{self.state / 'env'}'; env -0"], capture_output=True, env={"PATH": os.defpath}
        )
        pairs = shell.stdout.decode().split("\0")
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    def kubiya(self, *arguments: str, **env: str) -> Any:
        """Another command, in a shell that was prepared."""
        import subprocess

        environment = {**os.environ, "HOME": str(self.home), **self.environment(), **env}
        return subprocess.run(
            [str(BIN / "kubiya"), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            cwd=self.home,
        )

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.signal(number)
        return self.process.wait(60)


def all_gone(processes: list[psutil.Process], within: float) -> None:
    wait_until(lambda: not any(_runs(p) for p in processes), within, f"the end of {processes}")


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def started() -> Iterator[list[Dev]]:
    """Runs that are stopped, whatever the test did."""
    runs: list[Dev] = []
    yield runs
    for run in runs:
        if run.process.popen.poll() is None:
            run.process.signal(signal.SIGTERM)
            try:
                run.process.wait(40)
            except Exception:
                pass  # killed below
        run.process.kill()
