"""Workers under a supervisor, as a person starts them: the real command line, a home folder of their own.

with Daemons(stack, tmp_path) as daemons:
    daemons.run("worker", "start", "--queue-id", "default", "-d")
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import pytest

from tests.support import kept_code
from tests.support.stack import BIN, ROOT, Stack, wait_until

KUBIYA = str(BIN / "kubiya")
# A worker keeps its memory from other programs of its user, and the kernel hides more than that with it.
SEEN_BY_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="a worker's folder, sockets and variables are seen by root")


class Daemons:
    """The workers of one home folder; whatever still runs is killed at the end."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.home = folder / "home"
        self.home.mkdir()
        kept_code.share(self.home)
        self.workers = self.home / ".kubiya" / "workers"

    def __enter__(self) -> Daemons:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        deadline = time.monotonic() + 60
        while left := self.processes():  # a supervisor may start another worker before it is killed itself
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            assert time.monotonic() < deadline, left
        if error is not None:
            for path in self.workers.rglob("worker.log"):
                print(f"--- {path}", path.read_text(), sep="\n")

    def environment(self, **env: str) -> dict[str, str]:
        """Return the environment of a person's shell, without the variables of this test run."""
        base = {k: v for k, v in os.environ.items() if not k.startswith(("KUBIYA_", "SUPERVISOR_", "NOTIFY_"))}
        own = {
            "HOME": str(self.home),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "KUBIYA_API_KEY": self.stack.key,
            "CONTROL_PLANE_GATEWAY_URL": self.stack.url,
        }
        return {**base, **own, **env}

    def run(self, *args: str, check: bool = True, timeout: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [KUBIYA, *args],
            env=self.environment(**env),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, (args, done.returncode, done.stdout, done.stderr)
        return done

    def shell(self, command: str, **env: str) -> str:
        """Run a line of the guide in a person's shell, and return what it prints."""
        done = subprocess.run(
            ["bash", "-c", command.replace("<queue-id>", "default")],
            env=self.environment(**env),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def start(self, queue: str = "default", *args: str, **env: str) -> int:
        """A daemon that polls; its supervisor's pid."""
        done = self.run("worker", "start", "--queue-id", queue, "-d", *args, check=True, timeout=120, **env)
        assert done.stdout.startswith("ready: "), (done.stdout, done.stderr)
        number = int(args[args.index("--instance") + 1]) if "--instance" in args else 1
        return int(self.pid_file(queue, number)["pid"])

    def folder(self, queue: str = "default", instance: int = 1) -> Path:
        folder = self.workers / queue
        return folder if instance == 1 else folder / "instances" / str(instance)

    def pid_file(self, queue: str = "default", instance: int = 1) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder(queue, instance) / "worker.pid").read_text())
        return found

    def state(self, queue: str = "default") -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder(queue) / "state.json").read_text())
        return found

    def worker_pid(self, queue: str = "default") -> int:
        return int(self.state(queue)["child"]["pid"])

    def status(self, *args: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("worker", "status", "--json", *args, check=False).stdout)
        return found

    def processes(self) -> list[psutil.Process]:
        """Return the processes that run with this home. Zombies do not count."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and self._has_home(process):
                    found.append(process)
            except psutil.Error:
                continue
        return [process for process in found if process.pid != os.getpid()]

    def _has_home(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("HOME") == str(self.home)
        except psutil.AccessDenied:  # a worker or its supervisor, for another user than root
            return not {each.pid for each in (process, *process.parents())}.isdisjoint(self._supervisors())

    def _supervisors(self) -> Iterator[int]:
        for path in self.workers.rglob("worker.pid"):
            with contextlib.suppress(OSError, ValueError):  # it is being written, or gone
                yield json.loads(path.read_bytes())["pid"]

    def command_lines(self) -> list[str]:
        """Return the command lines of the processes that run with this home."""
        lines = []
        for process in self.processes():
            try:
                lines.append(" ".join(process.cmdline()))
            except psutil.NoSuchProcess:
                continue  # it has ended meanwhile
        return lines

    def wait_until_gone(self, timeout: float = 60.0) -> float:
        """Seconds until nothing of this home runs."""
        began = time.monotonic()
        wait_until(lambda: not self.processes(), timeout, f"all processes of {self.home} are gone")
        return time.monotonic() - began
