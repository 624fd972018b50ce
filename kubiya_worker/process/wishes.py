"""This module follows what people wish of this worker at the control plane: that it drains, or is started again.

A wish comes with the answer to a heartbeat, and with the registration. A drain has no time limit; when it is over, the
worker stays, and takes work again once the wish is gone. A restart is a stop within the grace period, with an exit code
after which a supervisor starts the worker again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from kubiya_worker.process.stop import Stop
from kubiya_worker.protocol import names

log = structlog.get_logger()

LONGEST: Final = 300  # characters of a reason


@dataclass(frozen=True)
class Wish:
    """Say what somebody wishes of this worker; `why` names the person and the reason."""

    action: str
    why: str

    @classmethod
    def parse(cls, raw: Any) -> Wish | None:
        """Return the wish in a heartbeat's answer; None where there is none, or one that this version does not know."""
        if not isinstance(raw, Mapping) or raw.get("action") not in (names.WISH_DRAIN, names.WISH_RESTART):
            return None
        by = raw.get("by")
        name = by.get("name") if isinstance(by, Mapping) else None
        why = f"by {name or 'somebody'}" + (f": {raw['reason']}" if raw.get("reason") else "")
        return cls(str(raw["action"]), " ".join(why.split())[:LONGEST])


def possible(variables: Mapping[str, str]) -> list[str]:
    """Return the wishes that this worker can follow: it can be restarted where something starts it again. Pure."""
    supervised = variables.get("NOTIFY_SOCKET") or variables.get("KUBERNETES_SERVICE_HOST")
    return [names.WISH_DRAIN, *([names.WISH_RESTART] if supervised else [])]


class Wishes:
    """Hold the present wish, and let the worker's life wait for its changes."""

    def __init__(self, stop: Stop, first: Any = None) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), stop
        self.possible = possible(os.environ)
        self.restart = ""  # why this worker ends that is to be started again
        self.drain_asked, self._lifted = asyncio.Event(), asyncio.Event()
        self._lifted.set()
        self.why = ""
        self._follow(Wish.parse(first))

    def heard(self, answer: Mapping[str, Any]) -> None:
        """Follow the answer to a heartbeat; call this from any thread."""
        self._loop.call_soon_threadsafe(self._follow, Wish.parse(answer.get("wish")))

    def _follow(self, wish: Wish | None) -> None:
        if wish is not None and wish.action == names.WISH_RESTART:
            if not self.restart and names.WISH_RESTART in self.possible:
                self.restart = f"restart asked {wish.why}"
                log.info("worker.restart_asked", why=wish.why)
                self._stop.finish(self.restart, hurried=True)
            return
        drains = wish is not None
        if drains == self.drain_asked.is_set():
            return
        self.why = wish.why if wish else ""
        if drains:
            log.info("worker.drain_asked", why=self.why)
            self._lifted.clear()
            self.drain_asked.set()
        else:
            log.info("worker.drain_lifted")
            self.drain_asked.clear()
            self._lifted.set()

    async def lifted(self) -> bool:
        """Wait until the wish to drain is gone; return False when the worker was asked to end first."""
        waiting = {asyncio.create_task(event.wait()) for event in (self._lifted, self._stop.asked)}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        return not self._stop.asked.is_set()
