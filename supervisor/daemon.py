"""Become a daemon, and report to the process that started it how that went."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

import daemon  # type: ignore[import-untyped]

UMASK = 0o077


def detach(cwd: str, keep: Iterable[int]) -> None:
    """Detach this process from its terminal: a double fork, its own session, umask 077 and no core files.

    Standard streams go to /dev/null, and every descriptor not in `keep` is closed. Raises daemon.daemon.DaemonError.
    The calling process exits here; the process that started it waits on the readiness pipe.
    """
    ensure_streams()
    context = daemon.DaemonContext(
        # Always: by itself python-daemon does not fork below PID 1 or on a socket, as in some shells and CI jobs.
        detach_process=True,
        working_directory=cwd,
        umask=UMASK,
        files_preserve=list(keep),
        signal_map={},  # the arbiter installs its own handlers; python-daemon's would raise SystemExit
    )
    context.open()


def ensure_streams() -> None:
    """Open /dev/null on each of descriptors 0, 1 and 2 that is closed; the next opened file would take that number."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "r" if descriptor == 0 else "w", closefd=False))


class Readiness:
    """The pipe to the process that started us, if there is one.

    `supervisor.spec` lists the messages. The pipe is closed after `final`.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        if descriptor is not None:
            os.set_inheritable(descriptor, False)
            os.set_blocking(descriptor, False)

    def descriptors(self) -> list[int]:
        """Return the descriptors that must stay open for the pipe."""
        return [] if self._descriptor is None else [self._descriptor]

    def tell(self, event: str, **fields: Any) -> None:
        self._write({"ready": None, "event": event, **fields})

    def final(self, ready: bool, **fields: Any) -> None:
        self._write({"ready": ready, **fields})
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, message: dict[str, Any]) -> None:
        if self._descriptor is not None:
            try:
                os.write(self._descriptor, json.dumps(message).encode() + b"\n")
            except OSError:
                pass  # the starter is gone or does not read; we must not wait for it
