"""A queue, a deployment and workers of its own for each test of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.versions.fleet import Fleet
from tests.support.stack import Stack


@pytest.fixture
def fleet(stack: Stack) -> Iterator[Fleet]:
    made = Fleet(stack)
    yield made
    made.close()
