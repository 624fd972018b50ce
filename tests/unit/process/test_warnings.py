"""A library's warning is one line of the log, as everything else."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import warnings
from kubiya_worker.process import logging
logging.configure("INFO", "text", lambda text: text)
warnings.simplefilter("always")
warnings.warn("of a library")
"""


def test_a_warning_is_one_line() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    (line,) = done.stdout.splitlines()
    assert " warning " in line and "of a library" in line and done.stderr == ""
