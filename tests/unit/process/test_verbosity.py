"""SIGUSR2's effect ends by itself, counted from the last signal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from kubiya_worker.process.logging import Verbosity


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.WARNING)
    yield logger
    logger.setLevel(before)


async def test_the_level_goes_up_and_comes_back(root: logging.Logger) -> None:
    verbosity = Verbosity(asyncio.get_running_loop(), seconds=0.05)
    verbosity.up()
    assert root.level == logging.DEBUG
    verbosity.up()  # a second signal does not make DEBUG the level to go back to
    async with asyncio.timeout(60):
        while root.level != logging.WARNING:
            await asyncio.sleep(0.01)


async def test_a_further_signal_counts_anew(root: logging.Logger) -> None:
    loop = asyncio.get_running_loop()
    verbosity = Verbosity(loop, seconds=1000)
    verbosity.up()
    verbosity._seconds = 0.01
    verbosity.up()
    async with asyncio.timeout(60):
        while root.level != logging.WARNING:
            await asyncio.sleep(0.01)
