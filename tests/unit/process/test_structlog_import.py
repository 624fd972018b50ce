"""The worker's process does not pay for rich, which structlog imports wherever it is installed."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from kubiya_worker.process import main
main.import_structlog()
assert "structlog.dev" in sys.modules, "imported"
assert "rich" not in sys.modules, "left out"
import rich
main.import_structlog()
assert sys.modules["rich"] is rich, "an extension has it"
"""


def test_rich_is_left_out_and_can_be_imported_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
