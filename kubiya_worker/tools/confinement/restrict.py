"""Put a thread under all restrictions. Standard library and `ctypes` only, because `launcher` runs without packages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from kubiya_worker.tools.confinement import capabilities, landlock, seccomp


def restrict_thread(ruleset: int, families: Sequence[int]) -> None:
    """Put this thread under a ruleset and a filter, for good. Raises OSError; it must then start nothing."""
    filtered = _filter(tuple(families))
    capabilities.drop()
    seccomp.forbid_new_privileges()
    landlock.restrict_thread(ruleset)
    seccomp.restrict_thread(filtered)


@cache
def _filter(families: tuple[int, ...]) -> bytes:
    return seccomp.program(seccomp.machine(), families)
