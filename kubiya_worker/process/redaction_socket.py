"""A worker removes its secrets from texts that others send: `kubiya worker support-bundle` cannot know them.

No other process can read the secrets of a worker (`_supervisor/posix/environment.py`), and none is given out here:
a text comes in over a Unix socket that only this user can reach, and comes back without them.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Final

import structlog

from kubiya_worker._supervisor.posix.sockets import BoundSocket
from kubiya_worker.credentials import SHORTEST
from kubiya_worker.leak_check import without_leaks
from kubiya_worker.redaction_request import LARGEST, TRAILER
from kubiya_worker.tools.redaction import REDACTED, Redactor

log = structlog.get_logger()
PATIENCE: Final = 10.0  # seconds for a peer to send or to take its text
_WAITING: Final = 8  # connections that the kernel keeps until they are answered


class RedactionSocket:
    """This is the worker's end of the socket; a thread answers one peer after the other."""

    def __init__(self, status_file: str | None, secrets: Callable[[], tuple[str, ...]]) -> None:
        """Listen beside the status file, which tells `address`. Without a file, or a socket there, do nothing."""
        self.address = ""
        self._secrets = secrets
        self._bound: BoundSocket | None = None
        if status_file is None:
            return
        try:
            self._bound = BoundSocket(socket.SOCK_STREAM, f"{status_file}.run", "redact")
            self._bound.socket.setblocking(True)
            self._bound.socket.listen(_WAITING)
        except OSError as error:
            log.warning("worker.no_redaction_socket", error=str(error))
            return
        self.address = self._bound.address
        threading.Thread(target=self._run, args=(self._bound.socket,), name="redact", daemon=True).start()

    def close(self) -> None:
        if self._bound is not None:
            with contextlib.suppress(OSError):
                self._bound.socket.shutdown(socket.SHUT_RDWR)  # ends the accept of the thread
            self._bound.close()

    def _run(self, listening: socket.socket) -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return  # it was closed
            with peer, contextlib.suppress(OSError):
                peer.settimeout(PATIENCE)
                self._answer(peer)

    def _answer(self, peer: socket.socket) -> None:
        content = bytearray()
        while data := peer.recv(1 << 16):
            content += data
            if len(content) > LARGEST:
                return  # without the trailer, the peer knows that this is no answer
        secrets = [secret for secret in self._secrets() if len(secret.strip()) >= SHORTEST]
        text = Redactor(secrets).text(content.decode("utf-8", "replace"))
        peer.sendall(without_leaks(text, secrets, REDACTED).encode("utf-8", "replace") + TRAILER)
