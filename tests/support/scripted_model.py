"""Fixtures of a scripted model endpoint, and of a queue whose worker asks it; a conftest.py imports them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def endpoint() -> Iterator[ModelEndpoint]:
    with ModelEndpoint() as running:
        yield running


@pytest.fixture(scope="module")
def queue(request: pytest.FixtureRequest, stack: Stack, endpoint: ModelEndpoint) -> str:
    """Start a worker that asks the endpoint, and return its queue, which is named after the module."""
    name = stack.queue(str(request.module.__name__).rpartition("test_")[2].replace("_", "-"))
    stack.worker(name, OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-test")
    return name
