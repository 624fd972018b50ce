"""This module holds the state of a worker and publishes it: to the ready file, systemd, the log, heartbeats.

The status file is the small private file that `kubiya worker status` reads. A thread writes it when something has
changed and every few seconds anyhow, so that its time tells a hanging worker from an idle one.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog

from kubiya_worker import garbage
from kubiya_worker._supervisor.posix import files
from kubiya_worker._supervisor.posix.notify import NotifySender
from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.process.health import LoopWatchdog, ProbeFile
from kubiya_worker.settings import Settings
from kubiya_worker.tools.confinement import support

log = structlog.get_logger()
LOOK_EVERY: Final = 1.0  # seconds between checks whether the facts have changed
WRITE_EVERY: Final = 10.0  # seconds between writes while nothing changes


class WorkerState:
    """The state of this worker, which it writes to the ready file, NOTIFY_SOCKET, the log and heartbeats."""

    def __init__(
        self,
        settings: Settings,
        registration: Registration,
        watchdog: LoopWatchdog,
        notifier: NotifySender,
        began: float,
    ) -> None:
        self._file = ProbeFile(settings.ready_file, registration.worker_id)
        self._queue = registration.queue_name or settings.queue_id
        self._worker_id, self._watchdog, self._notifier, self._began = registration.worker_id, watchdog, notifier, began
        self._state = "connecting"
        self._was_ready = False
        self.polled = asyncio.Event()  # set once the worker has been ready for the first time
        self.changed: Callable[[], None] = lambda: None  # called before any other listener is told
        self.long_commands: Callable[[], list[dict[str, Any]]] = list  # those that run
        self._drain_result: dict[str, int] = {}
        self._must_restart = ""  # why, once it has to
        self._then = ""  # what follows a drain that is not the end

    def snapshot(self) -> dict[str, Any]:
        """Return the state for heartbeats; safe to call from another thread."""
        state = {"state": self._state, "polling": self._state == "polling", "stuck": self._watchdog.stuck}
        state["confinement"] = support.line()
        return {**state, **self._watchdog.snapshot(), **self._restart_facts()}

    def facts(self) -> dict[str, Any]:
        """Return the facts for the status file, which change only when something happens."""
        blocked = self._watchdog.snapshot()["event_loop_blocked"]
        polling = self._state == "polling" and not blocked
        facts = {"worker_id": self._worker_id, "state": self._state, "polling": polling, "blocked": blocked}
        facts["confinement"] = support.line()
        commands = self.long_commands()
        facts |= {"long_commands": commands} if commands else {}
        return {**facts, **self._drain_result, **self._restart_facts()}

    def must_restart(self, reason: str) -> None:
        """Tell that this worker cannot do its work until it is restarted."""
        self._must_restart = reason
        self.changed()
        self._notifier.send(f"STATUS=it must be restarted: {reason}")

    def _restart_facts(self) -> dict[str, str]:
        return {"must_restart": self._must_restart} if self._must_restart else {}

    def ready(self) -> None:
        self._state, self._watchdog.stuck = "polling", False
        self._file.write()
        self.changed()
        if self._was_ready:
            log.info("worker.ready_again", queue=self._queue, worker_id=self._worker_id)
        else:
            seconds = time.monotonic() - self._began
            garbage.keep_loaded()
            log.info("worker.ready", queue=self._queue, worker_id=self._worker_id, seconds=seconds)
        self._was_ready = True
        # This comes last: its receiver reads the state at once, and must find all of the above.
        self._notifier.send("READY=1", f"STATUS=polling queue {self._queue}")
        self.polled.set()

    def lost(self, reason: str, *, stuck: bool) -> None:
        self._state, self._watchdog.stuck = "waiting", stuck
        self._file.remove()
        self.changed()
        self._notifier.send(f"STATUS=not ready: {reason}")
        log.warning("worker.not_ready", queue=self._queue, reason=reason)

    def draining(self, tasks: int, *, hurried: bool, then: str | None = None) -> None:
        """Report that the worker drains; `hurried` means that it stops within the grace period.

        `then` says what follows when that is not the end: that it stays, or is started again. None is what was said
        before.
        Only a stop sends STOPPING=1, because this message starts systemd's own time limit, and a drain has none.
        """
        if self._state != "draining":
            self._state = "draining"
            self._file.remove()
            self.changed()
        if then is not None:
            self._then = then
        message = f"STATUS=draining {tasks} tasks{self._then and f'; {self._then}'}"
        if hurried:
            self._notifier.send("STOPPING=1", message)
        elif self._then:
            self._notifier.send(message)
        elif self._must_restart:  # DRAINING=1 would tell the supervisor that nobody wants it to be started again
            self._notifier.send(f"STATUS=draining {tasks} tasks, then it is started again")
        else:
            self._notifier.send("DRAINING=1", message)

    def drained(self, why: str) -> None:
        """Report that the worker takes no work and stays, because somebody wishes it.

        This counts as ready for the supervisor: a worker that is drained when it is started would be ended as one that
        never became ready.
        """
        self._state = "drained"
        self._file.remove()
        self.changed()
        log.info("worker.waits_drained", queue=self._queue, worker_id=self._worker_id, why=why)
        self._notifier.send("READY=1", f"STATUS=drained {why}; it takes no work until that is lifted")

    def record_drain(self, finished: int, executions: int | None) -> None:
        """Record the result of a drain.

        That is the number of steps that finished since it began, and of the queue's executions that are still open.
        """
        self._drain_result = {"drained_tasks": finished}
        if executions is not None:
            self._drain_result["open_executions"] = executions


class StatusFile:
    """Write the status file; `facts` is called from any thread. Do nothing without a path."""

    def __init__(self, path: str | None, facts: Callable[[], dict[str, Any]]) -> None:
        self._path = Path(path) if path else None
        self._facts = facts
        self._written: dict[str, Any] = {}
        self._wrote_at = 0.0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        if self._path is not None:
            self._thread.start()

    def stop(self) -> None:
        """End the writing but keep the file, as its pid tells which worker it belonged to."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(LOOK_EVERY)

    def update(self) -> None:
        """Write the current facts now; a disk error is logged, not raised."""
        if self._path is None:
            return
        with self._lock:
            facts = self._facts()
            if facts != self._written or time.monotonic() - self._wrote_at > WRITE_EVERY:
                self._write(facts)

    def _run(self) -> None:
        while True:
            last = self._ended.is_set()  # write once more after the end, as the last state is read most
            self.update()
            if last:
                return
            self._ended.wait(LOOK_EVERY)

    def _write(self, facts: dict[str, Any]) -> None:
        assert self._path is not None
        text = json.dumps({"pid": os.getpid(), "at": time.time(), **facts})
        try:
            files.replace(self._path, text)
        except OSError as error:
            if self._wrote_at >= 0:
                log.warning("status.file_not_written", path=str(self._path), error=str(error))
            self._wrote_at = -1.0  # log the error only once
            return
        self._written, self._wrote_at = facts, time.monotonic()
