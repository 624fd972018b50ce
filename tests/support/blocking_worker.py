"""The real worker program with one hook: SIGUSR1 blocks its event loop, in Python, until the file BLOCK is there."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from kubiya_worker.process import health, lifecycle


def block() -> None:
    gate = Path(os.environ["BLOCK"])
    while not gate.exists():
        time.sleep(0.05)


def install() -> None:
    original = lifecycle.Life._serve

    async def serve(*args: Any, **kwargs: Any) -> int:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, block)
        return await original(*args, **kwargs)

    lifecycle.Life._serve = serve  # type: ignore[method-assign]
    health.LoopWatchdog.__init__.__defaults__ = (float(os.environ.get("SILENT_AFTER", "1")),)
    health.ALIVE_EVERY = 0.25  # type: ignore[misc]


if __name__ == "__main__":
    from kubiya_worker.process.main import main

    install()
    main()
