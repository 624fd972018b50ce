"""Temporal behind an HTTP proxy: HTTPS_PROXY, HTTP_PROXY and NO_PROXY count for it as for everything else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process.worker.conftest import Start
from tests.support.proxy import Proxy
from tests.support.stack import Stack


@pytest.fixture
def proxy(stack: Stack) -> Iterator[Proxy]:
    made = Proxy(stack.temporal_port)
    yield made
    made.close()


def test_temporal_is_reached_through_the_proxy_and_the_password_is_not_logged(
    start: Start, stack: Stack, proxy: Proxy
) -> None:
    worker = start(
        stack.url,
        KUBIYA_API_KEY=stack.key,
        TEMPORAL_HOST="temporal.test:7233",
        TEMPORAL_TLS="false",
        HTTP_PROXY=f"http://user:pass%40word@127.0.0.1:{proxy.port}",
        NO_PROXY="127.0.0.1",
        no_proxy="127.0.0.1",
    )
    worker.expect("worker.ready")
    assert proxy.asked[0].startswith("CONNECT temporal.test:7233 ")
    assert "basic dXNlcjpwYXNzQHdvcmQ=" in proxy.asked[0].replace("Basic", "basic")
    assert not any("pass" in line for line in worker.lines)


def test_no_proxy_counts(start: Start, stack: Stack, proxy: Proxy) -> None:
    worker = start(
        stack.url,
        KUBIYA_API_KEY=stack.key,
        TEMPORAL_HOST="temporal.test:7233",
        TEMPORAL_TLS="false",
        HTTP_PROXY=f"http://127.0.0.1:{proxy.port}",
        NO_PROXY="127.0.0.1,temporal.test",
        no_proxy="127.0.0.1,temporal.test",
    )
    worker.expect("temporal.unreachable")
    assert proxy.asked == []


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"])
def test_nothing_on_this_machine_is_asked_through_a_proxy(
    start: Start, stack: Stack, proxy: Proxy, variable: str
) -> None:
    """Neither Temporal nor the control plane: the shell of a company has such a variable, and no NO_PROXY."""
    given = {variable: f"http://127.0.0.1:{proxy.port}", "NO_PROXY": "", "no_proxy": ""}
    worker = start(stack.url, KUBIYA_API_KEY=stack.key, **given)
    worker.expect("worker.ready")
    assert proxy.asked == []


def test_a_proxy_that_cannot_do_it_is_told(start: Start, stack: Stack) -> None:
    worker = start(
        stack.url,
        KUBIYA_API_KEY=stack.key,
        TEMPORAL_HOST="temporal.test:7233",
        HTTPS_PROXY="socks5://127.0.0.1:1080",
        NO_PROXY="127.0.0.1",
        no_proxy="127.0.0.1",
    )
    assert worker.wait() == 78
    assert "NO_PROXY" in worker.lines[-1]
