"""This module serves `/metrics`, `/healthz` and `/readyz` from its own threads, so they answer while the loop is
blocked.

They agree with the probe files and the heartbeat, because all of them read the same condition. No key is needed: the
pages hold counts, and names of tools and models.
"""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import structlog

from kubiya_worker.errors import ConfigurationError

log = structlog.get_logger()

PATIENCE: Final = 10.0  # seconds that a client may take to send its request
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"

Condition = Callable[[], Mapping[str, Any]]


def alive(condition: Mapping[str, Any]) -> tuple[bool, str]:
    """Return whether the process is healthy, and the reason when only a restart helps. Pure."""
    if condition.get("event_loop_blocked"):
        return False, f"the event loop is blocked for {condition.get('event_loop_silent')} s"
    if condition.get("stuck"):
        return False, "Temporal answers, and this worker does not poll"
    return True, "ok"


def ready(condition: Mapping[str, Any]) -> tuple[bool, str]:
    """Return whether the worker takes up work, and the reason when it does not. Pure."""
    lives, why = alive(condition)
    if not lives:
        return False, why
    return bool(condition.get("polling")), str(condition.get("state") or "starting")


class Endpoint:
    """An HTTP server that listens as soon as it is made; `sources` give the parts of the metrics page."""

    def __init__(self, host: str, port: int, condition: Condition, sources: list[Callable[[], str]]) -> None:
        pages: dict[str, Callable[[], tuple[int, str]]] = {
            "/healthz": lambda: _verdict(*alive(condition())),
            "/readyz": lambda: _verdict(*ready(condition())),
            "/metrics": lambda: (200, "".join(source() for source in sources)),
        }

        class Handler(BaseHTTPRequestHandler):
            timeout = PATIENCE
            server_version, sys_version = "kubiya-worker", ""

            def do_GET(self) -> None:
                page = pages.get(self.path.partition("?")[0])
                status, text = page() if page else (404, "/metrics, /healthz, /readyz\n")
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", TEXT)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: Any) -> None:
                pass  # do not log requests: a scrape every few seconds would fill the log

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # the client closed the connection

        try:
            self._server = Server((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"The metrics port {host}:{port} cannot be used: {getattr(error, 'strerror', None) or error}",
                remedy="Choose another KUBIYA_METRICS_PORT, or 0 for a free one",
            ) from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="endpoint", daemon=True)
        self._thread.start()
        log.info("endpoint.listening", url=f"http://{f'[{host}]' if ':' in host else host}:{self.port}/metrics")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(2.0)


def _verdict(good: bool, why: str) -> tuple[int, str]:
    return (200 if good else 503), f"{why}\n"


def scraped(url: str) -> str:
    """Return the metrics page of Temporal's SDK, served on a loopback port; empty when it does not answer."""
    try:
        with urllib.request.urlopen(url, timeout=2.0) as answer:  # noqa: S310 - our own loopback address
            page: bytes = answer.read()
            return page.decode()
    except OSError:
        return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
