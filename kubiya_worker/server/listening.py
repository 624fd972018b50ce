"""This module opens the socket on which the control plane listens, before anything heavy is loaded."""

from __future__ import annotations

import resource
import socket
from typing import Final

from kubiya_worker.errors import UsageError

WAITING: Final = 2048  # connections that the system holds until they are accepted
MAX_FILES: Final = 10_000  # macOS does not allow more than 10,240


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that accepts connections; raise PortTaken or UsageError."""
    from kubiya_worker.server.errors import PortTaken

    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, OverflowError, UnicodeError) as error:
        raise UsageError(f"{host}:{port} is not an address to listen on", remedy="Check --host and --port") from error
    # Name the protocol: asyncio sets TCP_NODELAY only then, and without it each reply waits 40 ms for an ACK.
    bound = socket.socket(places[0][0], socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(places[0][4])
        bound.listen(WAITING)
    except OSError as error:
        bound.close()
        raise PortTaken(port, error) from error
    return bound


def allow_connections() -> None:
    """Raise the limit of open files as far as this user may: each connection is one, and the usual 1024 are few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def url_of(bound: socket.socket) -> str:
    """Return the address at which a socket is reached on this host."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
