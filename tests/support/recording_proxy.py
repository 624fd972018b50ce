"""A TCP proxy in front of the control plane, which records the requests.

with RecordingProxy(port) as proxy:
    ... proxy.url ...; proxy.requests
"""

from __future__ import annotations

import re
import socket
import threading
from types import TracebackType

REQUEST = re.compile(rb"^(GET|POST|PUT|PATCH|DELETE) (\S+) HTTP/1\.1\r\n", re.MULTILINE)


class RecordingProxy:
    """`requests` are (method, path), in order. A connection to a server that is away is closed at once."""

    def __init__(self, port: int) -> None:
        self.target = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[tuple[str, str]] = []

    def __enter__(self) -> RecordingProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                server = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            threading.Thread(target=self._pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, asks: bool) -> None:
        try:
            while data := source.recv(65536):
                if asks:
                    self.requests += [(a.decode(), b.decode()) for a, b in REQUEST.findall(data)]
                sink.sendall(data)
        except OSError:
            pass  # the other side went away
        finally:
            try:
                sink.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed already
            source.close()
