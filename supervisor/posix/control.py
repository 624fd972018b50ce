"""A supervisor answers everyone who connects to its control socket with its present state, as one JSON object.

A file tells what was true when it was written. An answer proves that the process lives and takes part, and costs one
connection. Nothing is read from the socket, so nobody can order anything through it.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any, Final

from .sockets import BoundSocket

ASK_WITHIN: Final = 2.0  # seconds; a supervisor answers in milliseconds, also on a busy host
_WAITING: Final = 16  # connections that the kernel keeps until they are answered
_LARGEST: Final = 1 << 20  # bytes of an answer


class ControlSocket:
    """This is the supervisor's end of the control socket."""

    def __init__(self, folder: str, answer: Callable[[], dict[str, Any]]) -> None:
        """Listen in `folder`. `answer` makes the state. Raises OSError."""
        self._answer = answer
        self._bound = BoundSocket(socket.SOCK_STREAM, folder, "control")
        self._bound.socket.listen(_WAITING)

    def fileno(self) -> int:
        return self._bound.socket.fileno()

    @property
    def address(self) -> str:
        return self._bound.address

    def answer(self) -> None:
        """Answer everyone who waits. A peer that does not read loses its answer; nobody waits for it."""
        while True:
            try:
                peer, _ = self._bound.socket.accept()
            except OSError:
                return  # nobody waits, or no descriptor is left
            with peer:
                text = json.dumps(self._answer()).encode()
                try:
                    peer.setblocking(False)
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(text))
                    peer.sendall(text)
                except OSError:
                    pass

    @property
    def lost(self) -> bool:
        return self._bound.lost

    def bind_again(self) -> bool:
        """Listen on a new socket with the same name. Return whether that worked."""
        if not self._bound.bind_again():
            return False
        self._bound.socket.listen(_WAITING)
        return True

    def close(self) -> None:
        self._bound.close()


def ask(address: str, within: float = ASK_WITHIN) -> dict[str, Any]:
    """Return the state that the supervisor behind `address` tells; empty when none answers within `within` seconds."""
    text = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(within)
            peer.connect(address)
            while len(text) <= _LARGEST and (data := peer.recv(65536)):
                text += data
        answer = json.loads(text)
    except (OSError, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}
