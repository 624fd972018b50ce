"""This module serves `/metrics`, `/healthz` and `/readyz` from its own threads.

So they answer while the event loop is blocked. They agree with the probe files and the heartbeat, because all of them
read the same condition. No key is needed: the pages hold counts, and names of tools and models.
"""

from __future__ import annotations

import functools
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from kubiya_worker import loopback
from kubiya_worker.control_plane.queue_routes import QueueRoutes
from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.process import metrics
from kubiya_worker.process.approvals_gauge import ApprovalsGauge
from kubiya_worker.process.counters import ActivityCounters
from kubiya_worker.settings import Settings

log = structlog.get_logger()

PATIENCE: Final = 10.0  # seconds that a client may take to send its request
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - the address that a client of this host uses

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


class MetricsServer:
    """An HTTP server that listens as soon as it is made; `sources` give the parts of the metrics page."""

    def __init__(self, host: str, port: int, condition: Condition, sources: list[Callable[[], str]]) -> None:
        # Imported here: a worker without a port does not load these modules, which take 10 ms.
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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

        class HttpServer(ThreadingHTTPServer):
            daemon_threads = True
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # the client closed the connection

        try:
            self._server = HttpServer((host, port), Handler)
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


def read_sdk_metrics(url: str) -> str:
    """Return the metrics page of Temporal's SDK, served on a loopback port; empty when it does not answer."""
    try:
        return loopback.page(url, timeout=2.0)
    except OSError:
        return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Monitor:
    """The HTTP side of a worker.

    `meter` is the interceptor that measures steps, and `sdk_port` serves Temporal's own metrics. It listens as soon as
    it is made: a worker is alive while the control plane is away, and reports that it is not ready.
    """

    def __init__(
        self, settings: Settings, counters: ActivityCounters, condition: Callable[[], Mapping[str, Any]]
    ) -> None:
        """Take `condition`, the state before the registration, and open the port.

        Raise ConfigurationError when the port cannot be opened.
        """
        self._measured = measured = metrics.Metrics()
        self._condition, self._info = condition, (settings.queue_id, "")
        self.meter = metrics.Meter(measured)
        self.sdk_port: int | None = None
        self._endpoint: MetricsServer | None = None
        self._approvals: ApprovalsGauge | None = None
        self._host = settings.metrics_host
        if settings.metrics_port is None:
            return
        self.sdk_port = free_port()
        slots = settings.max_concurrent_activities

        def worker_metrics() -> str:
            return metrics.exposition(measured, counters, self._state, slots, self._info, settings.supervisor_state)

        sdk_metrics = functools.partial(read_sdk_metrics, f"http://127.0.0.1:{self.sdk_port}/metrics")
        self._endpoint = MetricsServer(
            settings.metrics_host, settings.metrics_port, self._state, [worker_metrics, sdk_metrics]
        )

    def registered(
        self, registration: Registration, queues: QueueRoutes, condition: Callable[[], Mapping[str, Any]]
    ) -> None:
        """Report `condition` from now on, with the queue's name and the worker's id."""
        queue = registration.queue_name or self._info[0]
        self._condition, self._info = condition, (queue, registration.worker_id)
        if self._endpoint is not None:
            self._approvals = ApprovalsGauge(
                queues,
                registration.queue_id or queue,
                lambda number: self._measured.set_gauge("approvals_waiting", number, queue),
            )

    def _state(self) -> Mapping[str, Any]:
        return self._condition()

    @property
    def url(self) -> str | None:
        """Return the URL of /metrics for this host, or None without a port."""
        if self._endpoint is None:
            return None
        host = EVERYWHERE.get(self._host, self._host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._endpoint.port}/metrics"

    def close(self) -> None:
        if self._approvals is not None:
            self._approvals.close()
        if self._endpoint is not None:
            self._endpoint.close()
