"""Temporal behind an HTTP proxy: HTTPS_PROXY, HTTP_PROXY and NO_PROXY count for it as for everything else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.process.worker.conftest import Start
from tests.support.stack import Stack


class Proxy:
    """CONNECT only. Every target leads to the same place; what was asked for is kept."""

    def __init__(self, port: int) -> None:
        self.asked: list[str] = []
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096) or b"\r\n\r\n"
            self.asked.append(head.decode(errors="replace"))
            with socket.create_connection(("127.0.0.1", self._target)) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join()

    def close(self) -> None:
        self._listener.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other side has gone


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


def test_a_local_temporal_is_never_asked_through_a_proxy(start: Start, stack: Stack, proxy: Proxy) -> None:
    address = f"http://127.0.0.1:{proxy.port}"
    worker = start(stack.url, KUBIYA_API_KEY=stack.key, HTTPS_PROXY=address, NO_PROXY="", no_proxy="")
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
