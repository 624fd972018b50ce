"""A web server on loopback that keeps what it is sent, and answers as a test says."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Got:
    """One request: its path, its headers with names in lower case, its body."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = int | tuple[int, dict[str, str]] | Callable[[Got], int]


class Receiver:
    """`with Receiver() as receiver`: requests are in `got`. `answers` are used one by one; then it says 200."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.answers: deque[Answer] = deque()
        self.body = b"{}"
        self._change = threading.Condition()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                got = Got(self.path, {k.lower(): v for k, v in self.headers.items()}, self.rfile.read(length))
                if len(got.body) < length:
                    return  # the sender was killed in the middle
                with receiver._change:
                    answer = receiver.answers.popleft() if receiver.answers else 200
                    receiver.got.append(got)
                    receiver._change.notify_all()
                headers: dict[str, str] = {}
                if callable(answer):
                    answer = answer(got)
                if isinstance(answer, tuple):
                    answer, headers = answer
                self.send_response(answer)
                for name, value in {**headers, "content-length": str(len(receiver.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(receiver.body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait(self, count: int, seconds: float = 30.0) -> list[Got]:
        """Return the requests as soon as there are so many."""
        end = time.monotonic() + seconds
        with self._change:
            while len(self.got) < count:
                assert self._change.wait(end - time.monotonic()), f"{len(self.got)} of {count} requests came"
            return list(self.got)
