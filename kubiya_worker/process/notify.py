"""This module sends messages of the systemd notify protocol; it does nothing when nobody listens."""

from __future__ import annotations

import os
import socket


class Notifier:
    """Send messages to `NOTIFY_SOCKET`, which is a path or an abstract name that begins with '@'."""

    def __init__(self, address: str | None = None) -> None:
        address = os.environ.get("NOTIFY_SOCKET") if address is None else address
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._socket = _datagram_socket() if address else None

    def send(self, *lines: str) -> None:
        if self._socket is not None and self._address:
            try:
                self._socket.sendto("\n".join(lines).encode(), self._address)
            except OSError:
                pass  # a supervisor that is gone or busy must not stop the worker

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


def watchdog_interval() -> float | None:
    """Return the seconds between WATCHDOG=1 messages (half the supervisor's limit), or None when there is no
    watchdog.
    """
    allowed, pid = os.environ.get("WATCHDOG_USEC"), os.environ.get("WATCHDOG_PID")
    if not allowed or not allowed.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(allowed) / 2_000_000


def _datagram_socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made
