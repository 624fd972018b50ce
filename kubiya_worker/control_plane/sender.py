"""Delivery of the spool: a thread tries until the control plane is there, then sends the events in order.

An execution whose turn it is not (425: something that comes before is still under way, perhaps from another worker)
waits; the others go on. While the spool is empty the thread sleeps.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from kubiya_worker.control_plane import errors
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.spool import Spool
from kubiya_worker.protocol.events import Event

log = logging.getLogger(__name__)

FIRST_DELAY: Final = 0.2  # seconds to the next try; doubles up to LONGEST_DELAY
LONGEST_DELAY: Final = 5.0
ADOPT_EVERY: Final = 30.0  # seconds between looks for what workers that are gone have left
FAULTY_AFTER: Final = 4  # times, after which events are given up one by one
PARALLEL: Final = 4  # executions whose events are sent at the same time
CLOSE_WITHIN: Final = 3.0  # seconds that the end of the worker waits for a last try


class SpoolSender:
    def __init__(self, control_plane: ControlPlane, spool: Spool) -> None:
        self._control_plane, self._spool = control_plane, spool
        self._stopping = False
        self._adopted_at = 0.0
        self._no_answer = False  # nobody answers: this round need not go on
        self._failures: dict[str, int] = {}  # executions on whose next events the control plane broke: how often
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop after a last try. Events that still wait stay on disk."""
        self._stopping = True
        self._spool.interrupt()
        self._thread.join(CLOSE_WITHIN)
        self._spool.close()

    def _run(self) -> None:
        delay = FIRST_DELAY
        while True:
            last = self._stopping
            try:
                if time.monotonic() - self._adopted_at >= ADOPT_EVERY or not self._adopted_at:
                    self._spool.adopt()
                    self._adopted_at = time.monotonic()
                sent, waiting = self._round()
            except Exception:  # a bug must not end the delivery of everything else
                log.exception("spool.broke")
                sent, waiting = False, True
            if last:
                return
            delay = FIRST_DELAY if sent or not waiting else min(delay * 2, LONGEST_DELAY)
            self._spool.wait(delay if waiting else ADOPT_EVERY, hurried=waiting)

    def _round(self) -> tuple[bool, bool]:
        """Try each execution once, some at the same time. Return (something was sent, something still waits)."""
        executions = self._spool.executions()
        self._no_answer = False
        if len(executions) > 1:
            with ThreadPoolExecutor(min(PARALLEL, len(executions)), "spool") as pool:
                sent = sum(pool.map(self._deliver, executions))
        else:
            sent = sum(map(self._deliver, executions))
        if sent:
            log.info("spool.delivered events=%d left=%d", sent, self._spool.bytes)
        return sent > 0, not self._spool.empty

    def _deliver(self, execution_id: str) -> int:
        """Send the waiting events of one execution in order. Return the number of events sent."""
        sent = 0
        while not self._no_answer:
            entries, events = self._spool.first(execution_id)
            if not entries:
                break
            try:
                self._control_plane.publish(execution_id, events)
                sent += len(events)
            except errors.Unreachable as error:
                if error.status is None:
                    self._no_answer = True
                    break
                if not self._is_faulty(execution_id, error):  # not now, or not yet: the others may go
                    break
                sent += self._send_singly(execution_id, events)
            except errors.Unauthorized as error:
                log.error("spool.unauthorized %s", error)
                self._no_answer = True
                break
            except errors.ControlPlaneError as error:
                self._spool.count_lost(len(events), str(error))
            self._spool.delivered(entries)
        return sent

    def _is_faulty(self, execution_id: str, error: errors.Unreachable) -> bool:
        """Return True when the events are at fault: they failed `BROKEN` times while the control plane was there."""
        if error.outage or not self._control_plane.is_there(execution_id):
            self._failures.pop(execution_id, None)
            return False
        self._failures[execution_id] = self._failures.get(execution_id, 0) + 1
        return self._failures[execution_id] >= FAULTY_AFTER

    def _send_singly(self, execution_id: str, events: list[Event]) -> int:
        """Send each event alone and return how many were taken. Only faulty ones are lost; the rest need not wait."""
        self._failures.pop(execution_id, None)
        lost = 0
        for event in events:
            try:
                self._control_plane.publish(execution_id, [event])
            except errors.ControlPlaneError as error:
                self._spool.count_lost(1, str(error))
                lost += 1
        return len(events) - lost
