"""Both sides of sd_notify(3): the socket for our child's messages, and the socket of our own supervisor, if any.

The socket is in a folder that only this user can enter. On Linux the kernel tells which process sent a message; a
message that does not come from the child's process tree is ignored.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

_LONGEST: Final = 100  # bytes of a socket's path: 108 on Linux, 104 elsewhere, with the zero
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid
_SIZE: Final = 8192  # bytes of a message


class Listener:
    """The socket on which the child's messages arrive."""

    def __init__(self, folder: str, portable: bool = False) -> None:
        """Bind the socket in `folder`.

        If the path is too long or the file system has no sockets, a temporary folder is used.
        """
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.knows_senders = not portable and hasattr(socket, "SO_PASSCRED") and hasattr(socket, "SCM_CREDENTIALS")
        if self.knows_senders:
            self.socket.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_PASSCRED", 0), 1)
        self._folder = ""
        self.address = self._bind(folder)

    def _bind(self, folder: str) -> str:
        path = Path(folder) / "notify"
        if len(os.fsencode(path)) <= _LONGEST:
            try:
                Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
                Path(folder).chmod(0o700)
                path.unlink(missing_ok=True)  # left by a killed supervisor: we hold the lock, so no other runs
                self.socket.bind(str(path))
                self._folder = folder
                return str(path)
            except OSError:
                pass
        self._folder = f"{os.environ.get('TMPDIR', '/tmp')}/supervisor-{os.urandom(8).hex()}"  # noqa: S108 - ours alone
        Path(self._folder).mkdir(mode=0o700)
        self.socket.bind(f"{self._folder}/notify")
        return f"{self._folder}/notify"

    def messages(self) -> Iterator[tuple[int | None, dict[str, str]]]:
        """Yield each message that has arrived: the sender's PID (None: the kernel does not say) and its variables."""
        while True:
            try:
                data, ancillary, flags, _ = self.socket.recvmsg(_SIZE, socket.CMSG_SPACE(_CREDENTIALS.size))
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
        self.socket.close()
        try:
            Path(self.address).unlink(missing_ok=True)
            Path(self._folder).rmdir()
        except OSError:
            pass  # the folder holds somebody else's files, which are not ours to remove


class Upstream:
    """The connection to the process that supervises us: systemd, another supervisor, or none."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)
        usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        watched = bool(address) and usec.isdigit() and int(usec) > 0 and pid in ("", str(os.getpid()))
        self.watchdog_every = int(usec) / 2_000_000 if watched else 0.0  # seconds; 0: not watched

    def send(self, *lines: str) -> None:
        if self._socket is not None:
            try:
                self._socket.sendto("\n".join(lines).encode(), self._address)
            except OSError:
                pass  # our supervisor is gone or busy; that must not stop us


def parse(data: bytes) -> dict[str, str]:
    """Parse KEY=value lines. Other lines are left out."""
    pairs = (each.partition("=") for each in data.decode(errors="replace").splitlines())
    return {key: value for key, equals, value in pairs if equals and key}
