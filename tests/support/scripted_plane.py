"""A control plane that answers as a test says, and remembers every request.

It has the failures that a real one cannot be made to have (500, 429, silence), and shows the exact bodies that a worker
sends.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


@dataclass
class Reply:
    """`body` is sent as JSON, a str as it is. `delay` is in seconds."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass
class Seen:
    method: str
    path: str
    body: Any
    key: str
    at: float  # monotonic, seconds


class ScriptedPlane:
    """`starts` are the replies to registrations in order; after them, and if there are none, one that succeeds."""

    def __init__(self, *starts: Reply, temporal: str = "127.0.0.1:1", port: int = 0, temporal_key: str = "") -> None:
        self.registration: dict[str, Any] = {
            "worker_id": "worker-1",
            "task_queue_name": "queue-1",
            "temporal_host": temporal,
            "temporal_api_key": temporal_key,
            "queue_name": "default",
        }
        self._starts = list(starts)
        self.others: Callable[[Seen], Reply] = lambda seen: Reply(204)
        self.seen: list[Seen] = []
        self._more = threading.Condition()
        plane = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                seen = Seen(
                    self.command,
                    self.path,
                    json.loads(raw) if raw else None,
                    self.headers.get("Authorization", ""),
                    time.monotonic(),
                )
                reply = plane.take(seen)
                time.sleep(reply.delay)
                text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
                data = b"" if reply.status == 204 else text.encode()
                try:
                    self.send_response(reply.status)
                    for name, value in {"Content-Length": str(len(data)), **reply.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    pass  # the worker did not wait

            do_GET = do_POST = do_PATCH = _serve

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256  # many calls at once open as many connections

        self._server = Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> ScriptedPlane:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def take(self, seen: Seen) -> Reply:
        with self._more:
            self.seen.append(seen)
            self._more.notify_all()
            if seen.path.startswith("/api/v1/worker-queues/"):
                return self._starts.pop(0) if self._starts else Reply(200, self.registration)
            return self.others(seen)

    def requests(self, end: str) -> list[Seen]:
        """Return the requests whose path ends with `end`."""
        with self._more:
            return [s for s in self.seen if s.path.endswith(end)]

    def expect(self, end: str, count: int = 1, timeout: float = 60.0) -> list[Seen]:
        """The requests to paths that end so, once there are `count` of them."""
        deadline = time.monotonic() + timeout
        with self._more:
            while len(found := [s for s in self.seen if s.path.endswith(end)]) < count:
                left = deadline - time.monotonic()
                assert left > 0, f"{len(found)} of {count} requests to …{end}: {[s.path for s in self.seen]}"
                self._more.wait(left)
            return found
