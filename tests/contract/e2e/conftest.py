"""One Temporal, one double of the published control plane and one worker for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.published_stack import PublishedStack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublishedStack]:
    with PublishedStack(tmp_path_factory.mktemp("published")) as running:
        running.worker()
        yield running
