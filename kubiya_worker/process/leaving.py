"""The way out of a process that used Temporal's library: the worker's, and that of commands that ask Temporal.

By `os._exit`: an interpreter that ran a Temporal worker sometimes dies of SIGABRT or SIGSEGV in its own exit
(sdk-python#300), which would turn a clean stop into a crash; one that had a client sometimes hangs there for ever.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """Out of this process, from any thread, with everything said."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads any more
    os._exit(code)
