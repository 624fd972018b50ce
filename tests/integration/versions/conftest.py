"""One stack for the tests of this folder; each has its own queue, deployment and workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.versions.fleet import Fleet
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def fleet(stack: Stack) -> Iterator[Fleet]:
    made = Fleet(stack)
    yield made
    made.close()
