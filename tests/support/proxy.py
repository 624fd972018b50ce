"""An HTTP proxy that carries connections (CONNECT) and remembers who was asked for."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping


class Proxy:
    """CONNECT only. Every target leads to `port`, but those in `ports`; what was asked for is kept."""

    def __init__(self, port: int = 0, ports: Mapping[str, int] | None = None) -> None:
        self.asked: list[str] = []
        self._target, self._ports = port, dict(ports or {})
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
        with client, contextlib.suppress(OSError):  # either side may go away at any moment
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096) or b"\r\n\r\n"
            if not head.strip():
                return  # somebody has only looked whether it is there
            self.asked.append(head.decode(errors="replace"))
            host = head.split(b" ")[1].rpartition(b":")[0].decode()
            with socket.create_connection(("127.0.0.1", self._ports.get(host, self._target))) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join()

    @property
    def hosts(self) -> set[str]:
        return {head.split(" ")[1].rpartition(":")[0] for head in self.asked}

    def close(self) -> None:
        self._listener.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other side has gone
