"""Requests to a program on this host."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from kubiya_worker import loopback

Served = Callable[[bytes], str]


@pytest.fixture
def served() -> Iterator[Served]:
    """Serve these bytes, once, at the URL that is returned."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(answer: bytes) -> str:
        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        threading.Thread(target=run, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"

    yield serve
    listener.close()


def test_a_page_is_read_without_the_proxy_of_the_environment(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert loopback.page(served(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup"), timeout=40) == "up"


@pytest.mark.parametrize(
    ("answer", "told"),
    [(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "HTTP status 503"), (b"SSH-2.0-x\r\n", "BadStatusLine")],
)
def test_what_is_no_page_is_an_error_with_its_address(served: Served, answer: bytes, told: str) -> None:
    url = served(answer)
    with pytest.raises(OSError, match=told) as failed:
        loopback.page(url, timeout=40)
    assert url in str(failed.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:port/", "nowhere", "http://[::1"])
def test_what_is_no_address_is_an_error(url: str) -> None:
    with pytest.raises(OSError):
        loopback.page(url, timeout=1)
