"""A stack without workers: the tests of this folder start, kill and replace their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.scripted_model import endpoint as endpoint
from tests.support.scripted_model import queue as queue
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running
