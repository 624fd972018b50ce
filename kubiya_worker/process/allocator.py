"""The C library's allocator, held to few arenas: a worker of many threads else keeps what each of them has freed.

glibc gives threads arenas of their own, up to eight for each core, and returns little of them. With two of them a
worker that had run 800 steps had 164 MiB in place of 190.
"""

from __future__ import annotations

import os
from typing import Final

ARENAS: Final = 2
_M_ARENA_MAX: Final = -8  # malloc.h


def hold_small() -> bool:
    """For the threads that come after. False where MALLOC_ARENA_MAX says it already, or there is no such thing."""
    if "MALLOC_ARENA_MAX" in os.environ:
        return False
    import ctypes

    try:
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS))
    except (OSError, AttributeError):  # macOS, musl
        return False
