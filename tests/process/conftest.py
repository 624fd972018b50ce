"""One stack without workers for the tests of this folder, one home folder for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemons
from tests.support.stack import Stack


@pytest.fixture(scope="package")
def shared_stack(tmp_path_factory: pytest.TempPathFactory, shared_temporal: str) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), temporal=shared_temporal) as made:
        yield made


@pytest.fixture(scope="module")
def stack(shared_stack: Stack) -> Iterator[Stack]:
    with shared_stack.lent() as lent:
        yield lent


@pytest.fixture
def daemons(stack: Stack, tmp_path: Path) -> Iterator[Daemons]:
    with Daemons(stack, tmp_path) as made:
        yield made
