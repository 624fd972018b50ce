"""The systemd notify protocol, from the notifying side. Silent where nobody listens."""

from __future__ import annotations

import os
import socket


class Notifier:
    """`NOTIFY_SOCKET` is a path, or an abstract name that begins with '@'."""

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
    """Seconds between WATCHDOG=1 (half of what the supervisor allows), or None when it does not watch this process."""
    allowed, pid = os.environ.get("WATCHDOG_USEC"), os.environ.get("WATCHDOG_PID")
    if not allowed or not allowed.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(allowed) / 2_000_000


def _datagram_socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made
