"""Stop and restart a supervised worker: only after its whole identity was verified, and wait until it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from signal import Signals
from typing import Final

import psutil

from kubiya_worker._supervisor.posix import ownership
from kubiya_worker.errors import EX_TEMPFAIL, TemporaryFailure, WorkerError
from kubiya_worker.launch import daemon, report
from kubiya_worker.launch.home import Home
from kubiya_worker.launch.report import WorkerReport

STOP_SLACK: Final = 10.0  # seconds beyond what the supervisor itself needs at most
GONE_WITHIN: Final = 10.0  # seconds after SIGKILL: the guard needs up to 5 for what is left of the tree
LOOK_EVERY: Final = 0.1

Say = Callable[[str], None]


class NotRunning(WorkerError):
    """There is no worker to stop."""

    exit_code = 1  # docs/protocol.md#f1


class NotStopped(WorkerError):
    """The worker had to be killed, or still runs."""

    exit_code = 1


@dataclass(frozen=True)
class StopResult:
    """The result of a stop. `code` is the supervisor's exit code where it is known."""

    seconds: float
    pid: int | None
    code: int | None = None
    stale: bool = False


def stop(home: Home, say: Say, *, force: bool = False) -> StopResult:
    """Stop the worker. Returns when none of its processes is left.

    Raises NotRunning when none runs and there is no PID file, NotStopped when it had to be killed.
    """
    began = time.monotonic()
    worker_report = report.examine(home)
    if not worker_report.has_pid_file:
        raise NotRunning(f"No worker of {home.label} runs here", remedy="kubiya worker list shows those that do")
    if not worker_report.alive:
        clear(home)
        return StopResult(time.monotonic() - began, worker_report.pid, stale=True)
    if not force:
        patience = _seconds(worker_report.pid_file.get("stop_within")) + STOP_SLACK
        process = signal(home, "TERM")
        active = worker_report.live_status.get("active_tasks")
        if active:
            say(f"{active} running {'task has' if active == 1 else 'tasks have'} time to finish")
        if wait(process, patience):
            code = daemon.read_json(home.state_file).get("exit_code")
            return StopResult(time.monotonic() - began, worker_report.pid, code if isinstance(code, int) else None)
    process = signal(home, "KILL")
    wait(process, GONE_WITHIN)
    _until_unlocked(home)
    clear(home)
    if not force:
        raise NotStopped(
            f"The worker of {home.label} did not stop within {patience:g} s and was killed",
            remedy="The next worker takes up its work",
        )
    return StopResult(time.monotonic() - began, worker_report.pid)


def restart(home: Home, timeout: float) -> WorkerReport:
    """Restart the worker gracefully: running work finishes first, and the supervisor stays.

    Returns when the new worker polls. Raises NotRunning, and TemporaryFailure when it is not ready in time.
    """
    worker_report = report.examine(home)
    if not worker_report.alive:
        raise NotRunning(
            f"No worker of {home.label} runs here", remedy=f"Start it: kubiya worker start {home.flags} -d"
        )
    if worker_report.word == report.DRAINING:
        raise TemporaryFailure(
            f"The worker of {home.label} drains and is not restarted", remedy="Start it anew when it has ended"
        )
    pid_before = (worker_report.state.get("child") or {}).get("pid")
    process = signal(home, "HUP")
    deadline = time.monotonic() + timeout + _seconds(worker_report.pid_file.get("stop_within"))
    while time.monotonic() < deadline:
        state = daemon.read_json(home.state_file)
        child = state.get("child") or {}
        if child.get("pid") not in (None, pid_before) and child.get("ready_at"):
            return report.examine(home)
        if not process.is_running():
            code = state.get("exit_code")
            error = TemporaryFailure(f"The worker ended: {state.get('why') or 'no reason given'}", remedy="See its log")
            error.exit_code = code if isinstance(code, int) and code else EX_TEMPFAIL
            raise error
        time.sleep(LOOK_EVERY)
    raise TemporaryFailure(
        f"The worker of {home.label} was not ready within {timeout:g} s", remedy=f"kubiya worker status {home.flags}"
    )


def clear(home: Home) -> None:
    """Remove the files that a dead supervisor has left. Nothing is touched while a process owns the instance."""
    try:
        owned = ownership.Ownership.acquire(str(home.pid_file), str(home.state_file), wait=0.0)
    except ownership.Held as held:
        raise TemporaryFailure(
            f"The worker of {home.label} has just been started in {home.folder}; its files were not removed",
            remedy=f"kubiya worker status {home.flags} says how it stands",
        ) from held
    except OSError:
        return  # the folder is gone
    try:
        for path in (home.info_file, home.pid_file):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise TemporaryFailure(f"{path} cannot be removed: {error.strerror}", remedy=f"ls -ld {path}") from error
    finally:
        owned.release()


def owner(home: Home) -> psutil.Process:
    """Return the supervisor that owns this home. Raises NotRunning when it has just ended."""
    running = ownership.find(str(home.pid_file), str(home.state_file))
    try:
        # psutil remembers the start time, so a reused PID is not taken for this process.
        if running.alive and running.pid is not None:
            return psutil.Process(running.pid)
    except psutil.Error:
        pass
    raise NotRunning(f"The worker of {home.label} has just ended", remedy=f"kubiya worker status {home.flags} says how")


def signal(home: Home, name: str) -> psutil.Process:
    """Send a signal once the whole identity was verified. Return the process, to await its end. Raises NotRunning."""
    process = owner(home)
    signalled = ownership.signal_owner(str(home.pid_file), Signals[f"SIG{name}"], str(home.state_file))
    if not signalled.alive:
        raise NotRunning(
            f"No signal was sent: {signalled.reason or 'the worker has just ended'}",
            remedy=f"kubiya worker status {home.flags} says what is there",
        )
    return process


def wait(process: psutil.Process, timeout: float) -> bool:
    """Return whether the process ended within `timeout` seconds.

    A zombie counts as ended: PID 1 of many containers never reaps it.
    """
    deadline = time.monotonic() + timeout
    while True:
        remaining = deadline - time.monotonic()
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                process.wait(max(0.0, min(remaining, LOOK_EVERY)))
            return True
        except psutil.TimeoutExpired:
            if remaining <= 0:
                return False
        except psutil.Error:
            return True  # it is gone


def _until_unlocked(home: Home) -> None:
    """Wait until the lock is free; the dying processes hold it until the last one is gone."""
    deadline = time.monotonic() + GONE_WITHIN
    while time.monotonic() < deadline and ownership.is_locked(str(home.pid_file)):
        time.sleep(LOOK_EVERY)


def _seconds(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 45.0
