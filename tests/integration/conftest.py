"""One stack with one worker for the tests of this folder: each worker of the test run starts it once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stack import Stack


@pytest.fixture(scope="package")
def shared_stack(tmp_path_factory: pytest.TempPathFactory, shared_temporal: str) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), temporal=shared_temporal) as running:
        running.worker()
        yield running


@pytest.fixture(scope="module")
def stack(shared_stack: Stack) -> Iterator[Stack]:
    with shared_stack.lent() as lent:
        yield lent
