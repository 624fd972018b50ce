"""`kubiya dev` as a process, in a home of its own, on free ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.support import kept_code
from tests.support.stack import BIN, Process, wait_until
from tests.support.terminal import Terminal

PORTS = ("--port", "0", "--temporal-port", "0", "--ui-port", "0")

# What the dev server does where a machine is too busy for its start.
BREAKS_DOWN = "printf 'panic: no namespace\n\ngoroutine 1 [running]:\n\tservice.go:279 +0x287\n' >&2; exit 2"


def another_temporal(folder: Path, script: str) -> str:
    """Make a program `temporal`, and return the PATH on which it comes first."""
    program = folder / "bin" / "temporal"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


class Dev:
    """One run of `kubiya dev`. `home` holds ~/.kubiya/dev and survives it."""

    def __init__(self, home: Path, *arguments: str, json: bool = True, ports: bool = True, **env: str) -> None:
        self.home = home
        self.state = home / ".kubiya" / "dev"
        kept_code.share(home)
        argv = [str(BIN / "kubiya"), "dev", *(PORTS if ports else ()), *(("--json",) if json else ()), *arguments]
        self.process = Process(argv, {"HOME": str(home), "COLUMNS": "200", **env}, home)
        self.facts: dict[str, Any] = {}

    def ready(self, timeout: float = 90.0) -> Dev:
        self.facts = json.loads(self.process.expect('^{"event": "ready"', timeout))
        return self

    def tree(self) -> dict[str, psutil.Process]:
        """The processes that do the work, by name; without their guards."""
        found: dict[str, psutil.Process] = {}
        for process in psutil.Process(self.process.pid).children(recursive=True):
            text = command_line(process)
            if "guard.main" in text:
                continue
            for name, mark in {
                "temporal": "start-dev",
                "control-plane": "kubiya_worker.server",
                "worker": "worker.py",
            }.items():
                # The first one is it: a child that has not called exec yet has its parent's command line.
                if mark in text:
                    found.setdefault(name, process)
        return found

    def everything(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def environment(self) -> dict[str, str]:
        """Return the variables that `. ~/.kubiya/dev/env` sets, as a shell reads it."""
        shell = subprocess.run(
            ["/bin/sh", "-c", f". '{self.state / 'env'}'; env -0"], capture_output=True, env={"PATH": os.defpath}
        )
        pairs = shell.stdout.decode().split("\0")
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    def kubiya(self, *arguments: str, **env: str) -> Any:
        """Another command, in a shell that was prepared."""
        environment = {**os.environ, "HOME": str(self.home), **self.environment(), **env}
        return subprocess.run(
            [str(BIN / "kubiya"), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            cwd=self.home,
        )

    def terminal(self, *arguments: str, columns: int = 100, **env: str) -> Terminal:
        """Another command in a terminal of its own."""
        argv = [str(BIN / "kubiya"), *arguments]
        environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "TERM")}
        environment |= {"HOME": str(self.home), **self.environment(), **env}
        return Terminal(argv, environment, self.home, columns=columns)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """A request to the control plane."""
        with requests.Session() as session:
            session.trust_env = False
            session.headers["Authorization"] = f"Bearer {self.environment()['KUBIYA_API_KEY']}"
            url = f"{self.facts['control_plane_url']}/api/v1{path}"
            answer = session.request(method, url, json=body, timeout=30)
        assert answer.status_code < 400, answer.text
        return answer.json() if answer.content else None

    def newest(self) -> dict[str, Any]:
        """The execution that was started last."""
        row: dict[str, Any] = max(self.call("GET", "/executions"), key=lambda e: e["created_at"])
        return row

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.signal(number)
        return self.process.wait(60)


def command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""  # it has ended meanwhile


def all_gone(processes: list[psutil.Process], within: float) -> None:
    wait_until(lambda: not any(_runs(p) for p in processes), within, f"the end of {processes}")


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
