"""Look at workers repeatedly and cheaply: the checks of `report.examine` are done once for each supervisor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import psutil

from kubiya_worker._supervisor.posix import ownership
from kubiya_worker.launch import daemon, exposition, report
from kubiya_worker.launch.exposition import Samples
from kubiya_worker.launch.home import Home
from kubiya_worker.launch.report import WorkerReport


@dataclass(frozen=True)
class Look:
    """One look at one worker. `cpu` is in percent of one core since the last look, `memory` in bytes.

    None means not known. `samples` are the worker's own metrics; empty without an endpoint, or when it does not answer
    (`silent` says why).
    """

    report: WorkerReport
    cpu: float | None = None
    memory: int | None = None
    samples: Samples = field(default_factory=dict)
    silent: str = ""


class Watcher:
    """Watches one worker. A look takes milliseconds, or 50 ms when the lock file has changed and its owner is verified.

    Each process is remembered with its start time, so another process with a reused PID is never taken for it.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._file_version: tuple[int, ...] | None = None
        self._report: WorkerReport | None = None
        self._supervisor: psutil.Process | None = None
        self._worker: psutil.Process | None = None

    def look(self, *, figures: bool = True) -> Look:
        """Look at the worker now. Raises WorkerError when the supervisor's check cannot be run."""
        worker_report = self._examine()
        cpu, memory = self._usage(worker_report.worker_pid)
        url = worker_report.live_status.get("metrics_url") if figures else None
        if not url:
            return Look(worker_report, cpu, memory)
        try:
            return Look(worker_report, cpu, memory, exposition.samples(exposition.page(str(url))))
        except OSError as error:
            return Look(worker_report, cpu, memory, silent=str(error))

    def _examine(self) -> WorkerReport:
        version = self._version_of_pid_file()
        alive = self._supervisor is not None and _is_running(self._supervisor)
        if self._report is None or version != self._file_version or alive != self._report.alive:
            self._report, self._file_version = report.examine(self._home), version
            self._supervisor = _process(self._report.pid) if self._report.alive else None
            return self._report
        state, silent = daemon.read_json(self._home.state_file), False
        if alive:
            state, silent = report.state_of(self._home, self._report.pid_file)
        return replace(self._report, state=state, silent=silent, status=daemon.read_json(self._home.status_file))

    def _version_of_pid_file(self) -> tuple[int, ...] | None:
        try:
            about = ownership.lock_file(str(self._home.pid_file)).stat()
        except OSError:
            return None
        return (about.st_ino, about.st_mtime_ns, about.st_size)

    def _usage(self, pid: int | None) -> tuple[float | None, int | None]:
        if pid is None:
            self._worker = None
            return None, None
        try:
            if self._worker is None or self._worker.pid != pid or not self._worker.is_running():
                self._worker = psutil.Process(pid)
                self._worker.cpu_percent()  # starts the measurement; the first value is meaningless
                return None, self._worker.memory_info().rss
            return self._worker.cpu_percent(), self._worker.memory_info().rss
        except psutil.Error:
            self._worker = None
            return None, None


def total(samples: Samples, name: str, **labels: str) -> float | None:
    """Return the sum of a metric's samples that have these labels; None when there is none. Pure."""
    values = [value for has, value in samples.get(name, ()) if _has_labels(has, labels)]
    return sum(values) if values else None


def _has_labels(labels: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in wanted.items())


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _process(pid: int | None) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None
