"""This module has both sides of sd_notify(3): it receives a child's messages, and sends ours to whoever supervises us.

The socket is in a folder that only this user can enter. On Linux the kernel tells which process sent a message; a
message that does not come from the child's process tree is ignored.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Final

from .sockets import BoundSocket

_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid
_SIZE: Final = 8192  # bytes of a message


class NotifyReceiver:
    """This is the socket on which the child's messages arrive."""

    def __init__(self, folder: str, portable: bool = False) -> None:
        """Bind the socket in `folder`, or in a temporary folder where that is not possible. Raises OSError."""
        self.knows_senders = not portable and hasattr(socket, "SO_PASSCRED") and hasattr(socket, "SCM_CREDENTIALS")
        self._bound = BoundSocket(socket.SOCK_DGRAM, folder, "notify")
        self._ask_for_senders()

    def fileno(self) -> int:
        return self._bound.socket.fileno()

    @property
    def address(self) -> str:
        return self._bound.address

    @property
    def lost(self) -> bool:
        """Return whether no sender can reach the socket any more, because its name was removed or replaced."""
        return self._bound.lost

    def bind_again(self) -> bool:
        """Bind a new socket to the same name. Return whether that worked; read the old one's messages first."""
        if not self._bound.bind_again():
            return False
        self._ask_for_senders()
        return True

    def _ask_for_senders(self) -> None:
        if self.knows_senders:
            self._bound.socket.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_PASSCRED", 0), 1)

    def messages(self) -> Iterator[tuple[int | None, dict[str, str]]]:
        """Yield each message that has arrived: the sender's PID (None: the kernel does not say) and its variables."""
        while True:
            try:
                data, ancillary, flags, _ = self._bound.socket.recvmsg(_SIZE, socket.CMSG_SPACE(_CREDENTIALS.size))
            except (BlockingIOError, InterruptedError):
                return
            if flags & socket.MSG_TRUNC:
                continue
            yield self._sender(ancillary), parse(data)

    def _sender(self, ancillary: list[tuple[int, int, bytes]]) -> int | None:
        if self.knows_senders:
            for level, kind, data in ancillary:
                if level == socket.SOL_SOCKET and kind == getattr(socket, "SCM_CREDENTIALS", -1):
                    return int(_CREDENTIALS.unpack(data[: _CREDENTIALS.size])[0])
            return 0  # nobody
        return None

    def close(self) -> None:
        self._bound.close()


class NotifySender:
    """This is the connection to the process that supervises us: systemd, our own supervisor, or none.

    `NOTIFY_SOCKET` is a path, or an abstract name that begins with '@'.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)
        usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        watched = bool(address) and usec.isdigit() and int(usec) > 0 and pid in ("", str(os.getpid()))
        self._unsent: dict[str, str] = {}
        # Seconds between WATCHDOG=1 messages, half of what the supervisor allows; 0: it does not watch us.
        self.watchdog_every = int(usec) / 2_000_000 if watched else 0.0

    def send(self, *lines: str) -> None:
        """Send `KEY=value` lines as one message; do nothing when nobody listens.

        A line that could not be sent goes with the next message, so that a READY=1 is not lost because the receiver
        was busy or its socket was away for a moment.
        """
        if self._socket is None:
            return
        self._unsent.update(parse("\n".join(lines).encode()))
        text = "\n".join(f"{key}={value}" for key, value in self._unsent.items())
        try:
            self._socket.sendto(text.encode(), self._address)
        except OSError:
            self._unsent.pop("WATCHDOG", None)  # a sign of life counts at its time only
        else:
            self._unsent.clear()


def parse(data: bytes) -> dict[str, str]:
    """Parse KEY=value lines. Other lines are left out."""
    pairs = (each.partition("=") for each in data.decode(errors="replace").splitlines())
    return {key: value for key, equals, value in pairs if equals and key}
