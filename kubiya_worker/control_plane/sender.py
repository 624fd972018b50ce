"""Delivering what the spool holds: a thread that tries until the control plane is there, and then empties it in order.

An execution whose turn it is not (425: something that comes before is still under way, perhaps from another worker)
waits; the others go on. While the spool is empty the thread sleeps.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from kubiya_worker.control_plane import errors
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.spool import Spool

log = logging.getLogger(__name__)

FIRST_DELAY: Final = 0.2  # seconds to the next try; doubles up to LONGEST_DELAY
LONGEST_DELAY: Final = 5.0
ADOPT_EVERY: Final = 30.0  # seconds between looks for what workers that are gone have left
CLOSE_WITHIN: Final = 3.0  # seconds that the end of the worker waits for a last try


class Sender:
    def __init__(self, control_plane: ControlPlane, spool: Spool) -> None:
        self._control_plane, self._spool = control_plane, spool
        self._stopping = False
        self._adopted = 0.0
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """A last try, then what waits stays on disk."""
        self._stopping = True
        self._spool.interrupt()
        self._thread.join(CLOSE_WITHIN)
        self._spool.close()

    def _run(self) -> None:
        delay = FIRST_DELAY
        while True:
            last = self._stopping
            try:
                if time.monotonic() - self._adopted >= ADOPT_EVERY or not self._adopted:
                    self._spool.adopt()
                    self._adopted = time.monotonic()
                moved, waits = self._round()
            except Exception:  # a bug must not end the delivery of everything else
                log.exception("spool.broke")
                moved, waits = False, True
            if last:
                return
            delay = FIRST_DELAY if moved or not waits else min(delay * 2, LONGEST_DELAY)
            self._spool.wait(delay if waits else ADOPT_EVERY, hurried=waits)

    def _round(self) -> tuple[bool, bool]:
        """One try for each execution: (something went, something waits)."""
        moved = 0
        for execution_id in self._spool.executions():
            while True:
                entries, events = self._spool.first(execution_id)
                if not entries:
                    break
                try:
                    self._control_plane.publish(execution_id, events)
                except errors.Unreachable as error:
                    if error.status is not None:  # not now, or not yet: the others may go
                        break
                    return self._went(moved), True
                except errors.Unauthorized as error:
                    log.error("spool.unauthorized %s", error)
                    return self._went(moved), True
                except errors.ControlPlaneError as error:
                    self._spool.lose(len(events), str(error))
                else:
                    moved += len(events)
                self._spool.delivered(entries)
        return self._went(moved), not self._spool.empty

    def _went(self, events: int) -> bool:
        if events:
            log.info("spool.delivered events=%d left=%d", events, self._spool.bytes)
        return events > 0
