"""A real supervisor around a scripted child (`scripted_child.py`), for tests."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

CHILD = Path(__file__).with_name("scripted_child.py")
PATIENCE = 40.0  # seconds: a busy machine is no failure


def until(what: Callable[[], Any], patience: float = PATIENCE, every: float = 0.01) -> Any:
    """The first true value of `what`."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        value = what()
        if value:
            return value
        time.sleep(every)
    raise AssertionError(f"not within {patience} s")


class Supervised:
    """Stops at the end of its `with`, whatever happened."""

    def __init__(self, folder: Path, *steps: str, foreground: bool = True, environ: Any = None, **fields: Any) -> None:
        self.folder = folder
        self.log, self.pid_file = folder / "logs" / "worker.log", folder / "worker.pid"
        self.state_file, self.info_file = folder / "state.json", folder / "daemon_info.txt"
        self.spec: dict[str, Any] = {
            "argv": [sys.executable, "-I", "-S", str(CHILD), *steps],
            "pid_file": str(self.pid_file),
            "log_file": str(self.log),
            "state_file": str(self.state_file),
            "info_file": str(self.info_file),
            "backoff_first": 0.05,
            "backoff_longest": 0.1,
            "grace_period": 20,
            **fields,
        }
        self._environ = {**os.environ, **(environ or {})}
        self.foreground = foreground
        self._rest = b""
        self._pids: set[int] = set()
        self.start()

    def start(self) -> None:
        reader, writer = os.pipe()
        self.reader = reader
        argv = [sys.executable, "-m", "kubiya_worker._supervisor", "--spec-fd", "0", "--ready-fd", str(writer)]
        if self.foreground:
            argv.append("--foreground")
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[writer],
            env=self._environ,
            start_new_session=True,
        )
        os.close(writer)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(self.spec).encode())
        self.process.stdin.close()

    def __enter__(self) -> Supervised:
        return self

    def __exit__(self, *_: object) -> None:
        state = self.state()
        pid = self.pid
        for each in filter(None, [pid, *self._pids]):
            try:
                process = psutil.Process(each)
                family = [process, *process.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue  # also one that an earlier SIGKILL reaches just now
            for process in family:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    pass
        run = (state.get("child") or {}).get("run")
        if run:
            for each in marked(run):
                try:
                    os.kill(each, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.process.wait(PATIENCE)
        assert self.process.stderr is not None
        self.process.stderr.close()
        os.close(self.reader)

    # -- what it says

    def message(self) -> dict[str, Any] | None:
        """The next line of the readiness pipe; None at its end."""
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self.reader], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"nothing came: {self.text()}"
            data = os.read(self.reader, 65536)
            if not data:
                return None
            self._rest += data
        text, self._rest = self._rest.split(b"\n", 1)
        message: dict[str, Any] = json.loads(text)
        for key in ("pid", "worker_pid"):
            if message.get(key):
                self._pids.add(message[key])
        return message

    def final(self) -> dict[str, Any]:
        """The last line of the readiness pipe."""
        while True:
            message = self.message()
            assert message is not None, f"no last word: {self.text()}"
            if message["ready"] is not None:
                return message

    def ready(self) -> dict[str, Any]:
        message = self.final()
        assert message["ready"] is True, (message, self.text())
        return message

    def state(self) -> dict[str, Any]:
        try:
            data: dict[str, Any] = json.loads(self.state_file.read_text())
        except OSError:
            return {}
        return data

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def lines(self, word: str) -> list[str]:
        return [line for line in self.text().splitlines() if word in line]

    @property
    def pid(self) -> int | None:
        pid = (self.state().get("supervisor") or {}).get("pid")
        return int(pid) if pid else None

    def spawned(self) -> int:
        """The PID that the child reported."""
        text = until(lambda: next((line for line in self.text().splitlines() if line.startswith("spawned ")), ""))
        pid = int(text.split()[1])
        self._pids.add(pid)
        return pid

    # -- what is done to it

    def signal(self, number: int) -> None:
        pid = self.pid
        assert pid
        os.kill(pid, number)

    def ended(self) -> int:
        """The exit code of a supervisor in the foreground."""
        return self.process.wait(PATIENCE)


def marked(run: str) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SUPERVISOR_RUN") == run:
                found.append(process.pid)
        except psutil.Error:
            pass
    return found
