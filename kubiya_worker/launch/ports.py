"""Ports of the loopback interface: find free ones, and name the process that has a taken one."""

from __future__ import annotations

import errno
import random
import socket
from typing import Final

from kubiya_worker.errors import ConfigurationError, Unavailable

HOST: Final = "127.0.0.1"
UNASSIGNED: Final = (20_000, 32_000)  # below the ports of outgoing connections, on Linux (32768) and macOS (49152)
TRIES: Final = 50


def refuse_taken(host: str, port: int) -> None:
    """Raise ConfigurationError when a worker's metrics port cannot be used; the message names its user."""
    try:
        _listen(host, port)
    except (OSError, OverflowError) as error:
        owner = _owner(port) if getattr(error, "errno", None) == errno.EADDRINUSE else ""
        raise ConfigurationError(
            f"The metrics port {host}:{port} cannot be used: {getattr(error, 'strerror', None) or error}{owner}",
            remedy="Choose another KUBIYA_METRICS_PORT for each worker of this host, or 0 for a free one",
        ) from error


def _listen(host: str, port: int) -> int:
    """Listen on the port for a moment. Return its number."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        probe.listen(1)
        return int(probe.getsockname()[1])


def claim(port: int, purpose: str, flag: str) -> int:
    """Return `port` if it is free, or any free port for 0.

    Raises Unavailable or ConfigurationError, which name the process that uses the port.
    """
    try:
        return _listen(HOST, port) if port else _free_port()
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise Unavailable(
                f"Port {port}, for {purpose}, is taken{_owner(port)}",
                remedy=f"Stop that, or choose another port with {flag} (0 for any free one)",
            ) from error
        raise ConfigurationError(
            f"Port {port}, for {purpose}, cannot be used: {getattr(error, 'strerror', None) or error}",
            remedy=f"Choose another one with {flag} (0 for any free one)",
        ) from error


def _free_port() -> int:
    """Return a free port that is not used for outgoing connections, so that it is still free when its server starts."""
    for _ in range(TRIES):
        try:
            return _listen(HOST, random.randrange(*UNASSIGNED))  # noqa: S311 - not for secrecy
        except OSError:
            continue
    return _listen(HOST, 0)


def _owner(port: int) -> str:
    """Return ` by pid 123 (name)`, or "" when the system does not tell."""
    import psutil  # only when there is something to explain

    try:
        for connection in psutil.net_connections(kind="tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr[1] == port
                and connection.pid
            ):
                return f" by pid {connection.pid} ({psutil.Process(connection.pid).name()})"
    except (psutil.Error, OSError):
        pass  # this user may not see it
    return ""
