"""This module ends a process that used Temporal's library: the worker, or a command that asks Temporal.

It uses `os._exit`: an interpreter that ran a Temporal worker sometimes dies of SIGABRT or SIGSEGV in its own exit
(sdk-python#300), which would turn a clean stop into a crash; one that had a client sometimes never exits.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def exit_process(code: int) -> NoReturn:
    """Flush all output and end this process with `code`; call this from any thread."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # the reader of our output is gone
    os._exit(code)
