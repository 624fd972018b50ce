"""This module serves the control plane over HTTP by uvicorn, with signals and log lines of our own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import uvicorn

from kubiya_worker import garbage
from kubiya_worker.event_log import EventLogger
from kubiya_worker.server.app import create_app
from kubiya_worker.server.connections import LimitedProtocol
from kubiya_worker.server.listening import WAITING
from kubiya_worker.server.plane import Plane

GRACE: Final = 2  # seconds that open requests have to end after SIGTERM
ACCEPTED: Final = 16  # connections that are accepted in one turn of the event loop: as asyncio does it, all that wait
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

log = EventLogger("kubiya_worker.server")


class PlaneServer(uvicorn.Server):
    """The server of a plane; `began` is when the process was started, on the monotonic clock."""

    def __init__(self, plane: Plane, url: str, began: float) -> None:
        self._plane, self._url, self._began = plane, url, began
        super().__init__(
            uvicorn.Config(
                create_app(plane),
                http=LimitedProtocol,
                log_config=None,
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=GRACE,
                timeout_keep_alive=75,  # seconds: a worker's connections stay open between two heartbeats
                server_header=False,
                proxy_headers=False,  # nobody here needs a request's original address
                ws="none",
                backlog=ACCEPTED,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Use our signal handlers from the first moment.

        Those of uvicorn would end the process by the signal instead of with 0.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for bound in sockets or ():
            bound.listen(WAITING)  # asyncio has set it to `backlog`
        garbage.keep_loaded()
        log.info("control_plane.listening", url=self._url, pid=os.getpid(), seconds=time.monotonic() - self._began)
        host = urlsplit(self._url).hostname
        if host not in LOOPBACK:
            log.warning(
                "control_plane.exposed",
                host=host,
                error="keys and data travel without TLS",
                remedy="put a proxy with TLS before it",
            )

    def _stop(self, number: signal.Signals) -> None:
        if not self.should_exit:
            log.info("control_plane.stopping", reason=number.name, grace=f"{GRACE}s")
        self.should_exit = True
        self._plane.close()
