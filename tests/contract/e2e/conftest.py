"""One Temporal, one double of the published control plane and one worker for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.model_endpoint import ModelEndpoint
from tests.support.published_stack import PublishedStack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublishedStack]:
    # Every model but `demo` is one that the gateway refuses for good.
    refusal = {"status": 400, "body": {"error": {"message": "there is no such model", "code": "model_not_found"}}}
    with ModelEndpoint(default=refusal) as gateway, PublishedStack(tmp_path_factory.mktemp("published")) as running:
        running.world.gateway_url = gateway.url
        running.worker()
        yield running
