"""Lock files (flock). The kernel releases a lock when the last process that holds the descriptor is gone."""

from __future__ import annotations

import fcntl


def try_lock(descriptor: int) -> bool:
    """Lock the file for this descriptor. Return False when another one holds it. Raises OSError."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock(descriptor: int) -> None:
    """Wait for the lock. Raises OSError."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)
