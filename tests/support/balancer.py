"""A TCP load balancer for tests: each connection goes to the next server that takes it, first to one that is well."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import urllib.request
from collections import Counter
from collections.abc import Sequence

CHECK_EVERY = 0.5  # seconds
CHECK_WAIT = 1.0


class Balancer:
    def __init__(self, port: int, targets: Sequence[int], *, checked: bool = False) -> None:
        self._targets = list(targets)
        self._turn = itertools.count()
        self._ill: set[int] = set()
        self.led: Counter[int] = Counter()  # connections of each server
        self._elsewhere = True  # whether a connection that one server does not take is tried at the others
        self._listening = socket.create_server(("127.0.0.1", port), backlog=256)
        self._closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()
        for target in targets if checked else ():
            threading.Thread(target=self._check, args=(target,), daemon=True).start()

    def _check(self, target: int) -> None:
        """Leave a server out while it does not answer, such as one that stands still."""
        while not self._closed.wait(CHECK_EVERY):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{target}/health", timeout=CHECK_WAIT):
                    self._ill.discard(target)
            except OSError:
                self._ill.add(target)

    def aim(self, targets: Sequence[int]) -> None:
        """Lead new connections to other servers, as a Service of Kubernetes does: none is tried at a second one."""
        self._targets, self._elsewhere = list(targets), False

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it is closed
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        targets = self._targets
        first = next(self._turn) % max(1, len(targets))
        asked = targets[first:] + targets[:first] if self._elsewhere else targets[first : first + 1]
        for target in sorted(asked, key=lambda each: each in self._ill):
            with contextlib.suppress(OSError):
                server = socket.create_connection(("127.0.0.1", target), 2)
                server.settimeout(None)
                self.led[target] += 1
                break
        else:
            client.close()
            return
        back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
        back.start()
        self._pump(client, server)
        back.join()
        client.close()
        server.close()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
        for each in (source, sink):  # one side is gone: so is the connection
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
