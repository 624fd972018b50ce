"""Doing what the plan says to a running system, and undoing it. Each returns when the fault is over."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import psutil

from kubiya_worker.tools.processes.cleanup import MARKER
from scripts.chaos.clock import Clock
from scripts.chaos.evidence import Evidence, Hit
from scripts.chaos.plan import Fault
from scripts.chaos.watch import Watch, within
from tests.support.daemon import Daemons
from tests.support.processes import runs
from tests.support.stack import Stack, wait_until

QUEUE: Final = "default"
DISK: Final = "16m"
DYING: Final = 5.0  # seconds from the death of a supervisor to that of its worker, at most
COMES_BACK: Final = 6.0  # seconds after Temporal listens again until what was tried meanwhile is tried anew: 5 at most
NOW: Final = 3.0  # seconds between a log line and its being read, at most
AIM: Final = 15.0  # seconds to wait for a tool that can be killed


class Missed(Exception):
    """There was nothing to do it to."""


class Faults:
    def __init__(
        self,
        stack: Stack,
        daemons: Daemons,
        evidence: Evidence,
        clock: Clock | None,
        start: Sequence[str],
        env: dict[str, str],
    ) -> None:
        """`start`, `env`: arguments and environment with which the daemon is started."""
        self._stack, self._daemons, self._seen, self._clock = stack, daemons, evidence, clock
        self._start, self._env = start, env
        self.watch: Watch | None = None
        self._do: dict[str, Callable[[Fault], None]] = {
            "kill-worker": lambda fault: self._kill_worker(fault),
            "kill-supervisor": self._kill_supervisor,
            "kill-tool": self._kill_tool,
            "stop-worker": self._stop_worker,
            "stop-supervisor": self._stop_supervisor,
            "full-disk": self._full_disk,
            "full-disk-kill-worker": self._full_disk,
            "kill-control-plane": self._away,
            "kill-temporal": self._away,
            "kill-both": self._away,
            "sighup": self._sighup,
            "sigterm": self._sigterm,
            "step-clock": self._step_clock,
        }

    def add(self, more: dict[str, Callable[[Fault], None]]) -> None:
        """Add kinds that only some systems have."""
        self._do.update(more)

    def do(self, fault: Fault) -> None:
        """Raises Missed."""
        self._do[fault.kind](fault)

    def start_daemon(self) -> None:
        self._daemons.start(QUEUE, *self._start, **self._env)

    # -- the daemon's processes

    def worker(self) -> int:
        return self._daemons.worker_pid(QUEUE)

    def supervisor(self) -> int:
        return int(self._daemons.state(QUEUE)["supervisor"]["pid"])

    def _kill_worker(self, fault: Fault) -> None:
        worker = self.worker()
        at = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        self._seen.hits.append(Hit(fault.number, "killed", worker, at, at))

    def _kill_supervisor(self, fault: Fault) -> None:
        supervisor, worker = self.supervisor(), self.worker()
        at = time.monotonic()
        os.kill(supervisor, signal.SIGKILL)
        # Its worker winds up, and is gone soon; what it says meanwhile nobody reads.
        self._seen.hits.append(Hit(fault.number, "killed", worker, at, at + DYING))
        self._seen.unread.add(worker)
        self.start_daemon()

    def _kill_tool(self, fault: Fault) -> None:
        deadline = time.monotonic() + AIM
        while time.monotonic() < deadline:
            with contextlib.suppress(psutil.Error, KeyError):
                for process in psutil.Process(self.worker()).children():
                    mark = process.environ().get(MARKER, "")
                    if mark:
                        process.kill()
                        self._seen.killed_calls.add(mark.split(".", 2)[2])
                        return
            time.sleep(0.01)
        raise Missed("no tool ran")

    def _stop_worker(self, fault: Fault) -> None:
        worker = self.worker()
        at = time.monotonic()
        os.kill(worker, signal.SIGSTOP)
        time.sleep(fault.seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGCONT)
        self._seen.hits.append(Hit(fault.number, "stopped", worker, at, time.monotonic()))

    def _stop_supervisor(self, fault: Fault) -> None:
        supervisor = self.supervisor()
        os.kill(supervisor, signal.SIGSTOP)
        time.sleep(fault.seconds)
        os.kill(supervisor, signal.SIGCONT)

    def _sighup(self, fault: Fault) -> None:
        before, supervisor = self.worker(), self.supervisor()
        os.kill(supervisor, signal.SIGHUP)
        wait_until(lambda: not psutil.pid_exists(before), 60, "the worker has gone after SIGHUP")

    def _sigterm(self, fault: Fault) -> None:
        supervisor, folder = self.supervisor(), self._daemons.folder(QUEUE)
        os.kill(supervisor, signal.SIGTERM)
        wait_until(lambda: not runs(supervisor), 60, "the supervisor has gone after SIGTERM")
        left = [name for name in ("worker.pid", "daemon_info.txt") if (folder / name).exists()]
        tried, found = self._seen.left
        self._seen.left = (tried + 1, [*found, *(f"fault {fault.number}: {name} after a stop" for name in left)])
        self.start_daemon()

    # -- the disk

    def _full_disk(self, fault: Fault) -> None:
        filler = self._daemons.folder(QUEUE) / "filler"
        fill(filler)
        try:
            if fault.kind == "full-disk-kill-worker":
                time.sleep(0.3)
                self._kill_worker(fault)
            time.sleep(fault.seconds)
        finally:
            filler.unlink()

    # -- what the worker talks to

    def _away(self, fault: Fault) -> None:
        temporal = self._stack.temporal
        assert temporal is not None
        at = time.monotonic()
        if fault.kind != "kill-temporal":
            self._stack.kill_servers()
        if fault.kind != "kill-control-plane":
            temporal.kill()
        time.sleep(fault.seconds)
        if fault.kind != "kill-control-plane":
            self._stack.start_temporal()
            self._seen.hits.append(Hit(fault.number, "temporal", 0, at, time.monotonic() + COMES_BACK))
        if fault.kind != "kill-temporal":
            self._stack.start_server()

    # -- time

    def _step_clock(self, fault: Fault) -> None:
        assert self._clock is not None
        for offset, seconds in ((fault.step, fault.seconds), (0.0, 0.5)):
            self._clock.step(offset)
            time.sleep(seconds)
            wrong_time = within(10, partial(self._log_is_off, offset), time.sleep)
            tried, wrong = self._seen.clock
            self._seen.clock = (tried + 1, [*wrong, f"fault {fault.number}: {offset:+.0f} s"] if wrong_time else wrong)

    def _log_is_off(self, offset: float) -> bool:
        """Return True when the time of the latest log line is not `offset` seconds ahead of our clock."""
        assert self.watch is not None
        return abs(self.watch.last_time - (time.time() + offset)) >= NOW


def fill(path: Path) -> None:
    """Fill the disk until it takes not one byte more."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    os.write(descriptor, bytes(size))
    finally:
        os.close(descriptor)


class SmallDisk:
    """A tmpfs on a folder, for as long as the `with` lasts. Raises RuntimeError where none may be mounted."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "none", str(folder)]
        if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
            raise RuntimeError("no tmpfs may be mounted here (root can)")

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self._folder)], check=False)
