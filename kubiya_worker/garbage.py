"""This module sets how often Python looks for objects that refer to each other and are used by nobody."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# New objects before a look at them, looks before one at older ones, and those before one at all. With Python's own
# numbers (700, 10, 10) a busy process spends several percent of its time on it, and finds nearly nothing: all but a
# few objects end when their last reference does.
THRESHOLDS: Final = (20_000, 20, 50)


@contextmanager
def paused(*, keep: bool = False) -> Iterator[None]:
    """Pause the garbage collector while modules are imported: what they make stays, and it takes a tenth of the time.

    `keep`: count what exists at the end as there to stay, else the next look walks through all of it, 20 to 50 ms.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if keep:
            gc.freeze()
        if was_on:
            gc.enable()


def keep_loaded() -> None:
    """Count what exists now as there to stay, so that no look walks through it, and look rarely from now on.

    A look at all that was imported takes 20 to 50 ms.
    """
    gc.set_threshold(*THRESHOLDS)
    gc.freeze()
