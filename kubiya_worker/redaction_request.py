"""Ask a running worker to remove its secrets from a text (`process/redaction_socket.py` answers)."""

from __future__ import annotations

import socket
from typing import Final

from kubiya_worker.errors import TemporaryFailure

LARGEST: Final = 32 << 20  # bytes of a text
TRAILER: Final = b"\0redacted"  # the end of each answer: a worker that ends meanwhile does not send it
_WITHIN: Final = 60.0  # seconds


def redacted_by(address: str, text: str) -> str:
    """Return the text without the secrets of the worker behind `address`. Raises TemporaryFailure."""
    answer = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(_WITHIN)
            peer.connect(address)
            peer.sendall(text.encode("utf-8", "replace"))
            peer.shutdown(socket.SHUT_WR)
            while data := peer.recv(1 << 16):
                answer += data
    except OSError as error:
        raise TemporaryFailure(f"The worker did not remove its secrets: {error}", remedy="Try again") from error
    if not answer.endswith(TRAILER):
        raise TemporaryFailure("The worker did not remove its secrets", remedy="Try again")
    return answer[: -len(TRAILER)].decode("utf-8", "replace")
