"""A server that cannot be reached is told of in the system's words, not in those of a library."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from kubiya_worker.control_plane.errors import Unreachable, create_queue
from kubiya_worker.control_plane.transport import Transport
from kubiya_worker.definition_text import documents
from kubiya_worker.doctor import network


@contextlib.contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Take one connection after the other, and do with it what `answer` says."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(60)


def reset(connection: socket.socket) -> None:
    connection.recv(10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def in_plain_text(connection: socket.socket) -> None:
    connection.recv(10)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def said_by_client(url: str) -> str:
    with pytest.raises(Unreachable) as raised:
        Transport(url, {}, connect_timeout=5, read_timeout=5).call("GET", f"{url}/")
    return raised.value.message


def test_a_connection_that_is_reset_is_said_in_words() -> None:
    with server(reset) as port:
        url = f"http://127.0.0.1:{port}"
        wanted = f"{url} cannot be reached (Connection reset by peer)"
        assert said_by_client(url) == f"The control plane at {wanted}"
        assert network.control_plane(url).message == wanted


def test_a_closed_port_is_said_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    wanted = f"{url} cannot be reached (Connection refused)"
    assert said_by_client(url) == f"The control plane at {wanted}"
    assert network.control_plane(url).message == wanted


def test_tls_that_meets_plain_text_is_said_with_what_to_try() -> None:
    with server(in_plain_text) as port:
        url = f"https://127.0.0.1:{port}"
        said = network.control_plane(url).message
        assert said_by_client(url) == f"The control plane at {said}"
    assert "does not speak TLS; is the address http://?" in said


@pytest.mark.parametrize("queue", ["default", "my queue", "Ann's"])
def test_the_command_for_a_queue_that_is_not_known_makes_its_document(queue: str) -> None:
    command = create_queue(queue).partition("by:  ")[2].partition(" | ")[0]
    said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=10).stdout
    (document,) = documents("standard input", said)
    assert document.body == {"kind": "Queue", "name": queue}
