"""Drain a supervised worker: it accepts nothing new, and ends when all running work has finished."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import psutil

from kubiya_worker.errors import EX_TEMPFAIL, TemporaryFailure, WorkerError
from kubiya_worker.launch import control, daemon, report
from kubiya_worker.launch.control import NotRunning, NotStopped, Say
from kubiya_worker.launch.home import Home
from kubiya_worker.launch.report import WorkerReport

LOOK_EVERY: Final = 0.2  # seconds
REPORT_EVERY: Final = 30.0  # seconds between lines while nothing changes


class NotFinished(WorkerError):
    """The worker has ended, but some running work had not finished."""

    exit_code = EX_TEMPFAIL


class StoppedWaiting(WorkerError):
    """The person stopped waiting for the drain, which continues."""

    exit_code = 130  # the code that a shell gives for Ctrl-C

    def __init__(self, home: Home) -> None:
        remedy = f"Look: kubiya worker status {home.flags}; end it: kubiya worker stop {home.flags}"
        super().__init__(f"The worker of {home.label} drains on", remedy=remedy)


@dataclass(frozen=True)
class Drained:
    """The result of a complete drain.

    `open_executions` counts the queue's executions that are not over; None where it is not known.
    """

    seconds: float
    pid: int | None
    tasks: int  # number of tasks that finished during the drain
    open_executions: int | None = None


def drain(home: Home, say: Say, timeout: float | None = None) -> Drained:
    """Drain the worker. Returns when none of its processes is left.

    After `timeout` seconds the worker is stopped, with its grace period. Raises NotRunning; TemporaryFailure when it
    cannot be drained; NotFinished when some work was cut off; Left.
    """
    began = time.monotonic()
    worker_report = report.examine(home)
    process = _request_drain(home, worker_report, say)
    try:
        timed_out = _wait(home, process, say, began, timeout)
    except KeyboardInterrupt:
        raise StoppedWaiting(home) from None
    return _outcome(home, worker_report, time.monotonic() - began, timeout if timed_out else None)


def _wait(home: Home, process: psutil.Process, say: Say, began: float, timeout: float | None) -> bool:
    """Wait until the worker is gone. Return whether the time was up before."""
    last = (-1, began)
    while not control.wait(process, LOOK_EVERY):
        now = time.monotonic()
        if timeout is not None and now - began >= timeout:
            say(f"not finished within {timeout:g} s; it is stopped, with its grace period")
            _stop(home, say)
            return True
        last = _progress(home, say, last, now)
    return False


def _stop(home: Home, say: Say) -> None:
    try:
        control.stop(home, say)
    except NotRunning:
        pass  # it has ended in the meantime
    except NotStopped as error:
        raise NotFinished(error.message, remedy="The next worker of the queue takes up what it was doing") from error


def _request_drain(home: Home, worker_report: WorkerReport, say: Say) -> psutil.Process:
    """Send the drain signal, unless the worker drains already. Return the supervisor, to wait for."""
    if not worker_report.alive:
        if worker_report.has_pid_file:
            raise NotRunning(
                f"No worker of {home.label} runs here, its PID file is stale", remedy=f"kubiya worker stop {home.flags}"
            )
        raise NotRunning(f"No worker of {home.label} runs here", remedy="kubiya worker list shows those that do")
    if worker_report.word in (report.DRAINING, report.STOPPING):
        word = "drains" if worker_report.word == report.DRAINING else "is being stopped"
        say(f"{home.label} {word} already (since {worker_report.state.get('since')})")
        return control.owner(home)
    name = str(worker_report.pid_file.get("drain_signal") or "")
    if not name:
        raise TemporaryFailure(
            f"The worker of {home.label} was started by a version that cannot drain it",
            remedy=f"kubiya worker stop {home.flags}",
        )
    return control.signal(home, name)


def _progress(home: Home, say: Say, last: tuple[int, float], now: float) -> tuple[int, float]:
    """Report the number of tasks that are left, when it has changed or was not reported for REPORT_EVERY seconds."""
    child = daemon.read_json(home.state_file).get("child") or {}
    status = daemon.read_json(home.status_file)
    remaining = status.get("active_tasks")
    # A status from before the drain may be a second old and would show a wrong number.
    if status.get("pid") != child.get("pid") or status.get("state") != "draining" or not isinstance(remaining, int):
        return last
    if remaining == last[0] and now - last[1] < REPORT_EVERY:
        return last
    oldest = status.get("current_task") if remaining else None
    say(f"{remaining} {_tasks(remaining)} left" + (f", the oldest is {oldest}" if oldest else ""))
    return remaining, now


def _outcome(home: Home, worker_report: WorkerReport, seconds: float, timeout: float | None) -> Drained:
    state, status = daemon.read_json(home.state_file), daemon.read_json(home.status_file)
    death = (state.get("deaths") or [{}])[-1] if worker_report.worker_pid is not None else {}
    worker_status = status if status.get("pid") == death.get("pid") else {}
    if not _ended_as_requested(worker_report, state, death):
        known = state.get("state") in ("stopped", "failed")
        raise NotFinished(
            f"The worker of {home.label} ended before it was drained: {state.get('why') if known else 'it was killed'}",
            remedy="The next worker of the queue takes up what it was doing",
        )
    cut = _number(worker_status, "cut_tasks") or int(bool(worker_status) and death.get("code") != 0)
    if cut:
        limit = "to the end" if timeout is None else f"within {timeout:g} s"
        raise NotFinished(
            f"The worker of {home.label} was not drained {limit}, it was stopped: {cut} {_tasks(cut)} cut off",
            remedy="The next worker of the queue takes up what it was doing",
        )
    open_executions = worker_status.get("open_executions")
    return Drained(
        seconds,
        worker_report.pid,
        _number(worker_status, "drained_tasks"),
        open_executions if isinstance(open_executions, int) else None,
    )


def _ended_as_requested(worker_report: WorkerReport, state: dict[str, Any], death: dict[str, Any]) -> bool:
    """Return whether the supervisor ended as requested."""
    if (state.get("supervisor") or {}).get("pid") != worker_report.pid:  # the next supervisor runs already
        return death.get("code") == 0
    return state.get("state") == "stopped" and state.get("exit_code") == 0


def _number(facts: dict[str, Any], name: str) -> int:
    value = facts.get(name)
    return value if isinstance(value, int) else 0


def _tasks(count: int) -> str:
    return "task" if count == 1 else "tasks"
