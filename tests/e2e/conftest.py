"""One local stack, `kubiya dev`, for the commands that people type beside it."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.support.dev import Dev


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    running = Dev(tmp_path_factory.mktemp("home"), "--ephemeral")
    try:
        yield running.ready()
        assert running.stop(signal.SIGINT) == 0, running.process.lines
    finally:
        running.process.kill()
