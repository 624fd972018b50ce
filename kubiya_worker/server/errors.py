"""This module defines errors of the control plane's own program."""

from __future__ import annotations

import errno

from kubiya_worker.errors import Unavailable


class PortTaken(Unavailable):
    """Another program listens on the port, or this user may not open it."""

    def __init__(self, port: int, error: OSError) -> None:
        in_use = error.errno == errno.EADDRINUSE
        text = f"Port {port} is taken" if in_use else f"Port {port} cannot be used: {error.strerror}"
        super().__init__(text, remedy="Choose another one with --port, or 0 for any free one")
