"""Stop and restart a supervised worker: only after its whole identity was verified, and wait until it has ended."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import psutil

from kubiya_worker.errors import EX_TEMPFAIL, TemporaryFailure, WorkerError
from kubiya_worker.launch import daemon, report
from kubiya_worker.launch.home import Home
from kubiya_worker.launch.report import Report

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
class Stopped:
    """The result of a stop. `code` is the supervisor's exit code where it is known."""

    seconds: float
    pid: int | None
    code: int | None = None
    stale: bool = False


def stop(home: Home, say: Say, *, force: bool = False) -> Stopped:
    """Stop the worker. Returns when none of its processes is left.

    Raises NotRunning when there is no PID file, NotStopped when it had to be killed.
    """
    began = time.monotonic()
    found = report.examine(home)
    if not found.has_pid_file:
        raise NotRunning(f"No worker of {home.label} runs here", remedy="kubiya worker list shows those that do")
    if not found.alive:
        clear(home)
        return Stopped(time.monotonic() - began, found.pid, stale=True)
    if not force:
        within = _seconds(found.pid_file.get("stop_within")) + STOP_SLACK
        process = signal(home, "TERM")
        active = found.live_status.get("active_tasks")
        if active:
            say(f"{active} running {'task has' if active == 1 else 'tasks have'} time to finish")
        if wait(process, within):
            code = daemon.read_json(home.state_file).get("exit_code")
            return Stopped(time.monotonic() - began, found.pid, code if isinstance(code, int) else None)
    process = signal(home, "KILL")
    wait(process, GONE_WITHIN)
    _until_unlocked(home)
    clear(home)
    if not force:
        raise NotStopped(
            f"The worker of {home.label} did not stop within {within:g} s and was killed",
            remedy="What it was doing is taken up by the next worker",
        )
    return Stopped(time.monotonic() - began, found.pid)


def restart(home: Home, timeout: float) -> Report:
    """Restart the worker gracefully: running work finishes first, and the supervisor stays.

    Returns when the new worker polls. Raises NotRunning, and TemporaryFailure when it is not ready in time.
    """
    found = report.examine(home)
    if not found.alive:
        raise NotRunning(
            f"No worker of {home.label} runs here", remedy=f"Start it: kubiya worker start {home.flags} -d"
        )
    if found.word == report.DRAINING:
        raise TemporaryFailure(
            f"The worker of {home.label} drains and is not restarted", remedy="Start it anew when it has ended"
        )
    before = (found.state.get("child") or {}).get("pid")
    process = signal(home, "HUP")
    deadline = time.monotonic() + timeout + _seconds(found.pid_file.get("stop_within"))
    while time.monotonic() < deadline:
        state = daemon.read_json(home.state_file)
        child = state.get("child") or {}
        if child.get("pid") not in (None, before) and child.get("ready_at"):
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
    """Remove the files that a dead supervisor has left. Nothing is touched while a process holds the PID file."""
    try:
        descriptor = os.open(home.pid_file, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return  # there is no PID file any more
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == home.pid_file.stat().st_ino:  # else a new supervisor has made its own file
            home.info_file.unlink(missing_ok=True)
            home.pid_file.unlink(missing_ok=True)
    except BlockingIOError:
        raise TemporaryFailure(f"{home.pid_file} is held by a process that lives", remedy="Try again") from None
    except FileNotFoundError:
        pass
    finally:
        os.close(descriptor)


def owner(home: Home) -> psutil.Process:
    """Return the supervisor that the PID file names. Raises NotRunning when it has just ended."""
    try:
        # psutil remembers the start time, so a reused PID is not taken for this process.
        return psutil.Process(daemon.read_json(home.pid_file).get("pid"))
    except (psutil.Error, TypeError, ValueError) as error:
        raise NotRunning(f"The worker of {home.label} has just ended") from error


def signal(home: Home, name: str) -> psutil.Process:
    """Send a signal through the supervisor's own verification. Return the process, to wait for."""
    process = owner(home)
    answer = daemon.supervisor_says(home, "signal", name)
    if not answer.get("alive"):
        raise NotRunning(f"No signal was sent: {answer.get('reason') or 'the worker has just ended'}")
    return process


def wait(process: psutil.Process, timeout: float) -> bool:
    """Return whether the process ended within `timeout` seconds.

    A zombie counts as ended: PID 1 of many containers never reaps it.
    """
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                process.wait(max(0.0, min(left, LOOK_EVERY)))
            return True
        except psutil.TimeoutExpired:
            if left <= 0:
                return False
        except psutil.Error:
            return True  # it is gone


def _until_unlocked(home: Home) -> None:
    """Wait until the PID file's lock is free; the dying processes hold it until the last one is gone."""
    deadline = time.monotonic() + GONE_WITHIN
    while time.monotonic() < deadline:
        try:
            descriptor = os.open(home.pid_file, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(LOOK_EVERY)
        finally:
            os.close(descriptor)


def _seconds(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 45.0
