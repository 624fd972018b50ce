"""A collector of OpenTelemetry for tests: it takes OTLP over HTTP, and keeps the spans."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue


@dataclass(frozen=True)
class ReceivedSpan:
    name: str
    trace: str
    id: str
    parent: str  # empty for a root
    start: float
    end: float
    failed: bool
    attributes: dict[str, Any]
    links: list[tuple[str, str]]


@dataclass(frozen=True)
class ReceivedMetric:
    """One series of a histogram, as it was sent last."""

    name: str
    unit: str
    count: int
    sum: float
    bounds: list[float]
    attributes: dict[str, Any]


@dataclass
class Collector:
    """`spans` are those that came so far, `metrics` the newest, `resources` the attributes of who sent spans.

    `headers` are those of each request with spans.
    """

    url: str = ""
    status: int = 200
    spans: list[ReceivedSpan] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    metrics: list[ReceivedMetric] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    def take(self, body: bytes, headers: dict[str, str]) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self.came:
            self.headers.append(headers)
            for group in request.resource_spans:
                self.resources.append({x.key: _value(x.value) for x in group.resource.attributes})
                for scope in group.scope_spans:
                    self.spans += [_span(each) for each in scope.spans]
            self.came.notify_all()

    def take_metrics(self, body: bytes) -> None:
        request = ExportMetricsServiceRequest.FromString(body)
        found = [
            ReceivedMetric(
                *(metric.name, metric.unit, point.count, point.sum, list(point.explicit_bounds)),
                {x.key: _value(x.value) for x in point.attributes},
            )
            for group in request.resource_metrics
            for scope in group.scope_metrics
            for metric in scope.metrics
            for point in metric.histogram.data_points
        ]
        with self.came:
            self.metrics = found
            self.came.notify_all()

    def named(self, beginning: str) -> list[ReceivedSpan]:
        with self.came:
            return [span for span in self.spans if span.name.startswith(beginning)]

    def wait_for(self, beginning: str, count: int = 1, within: float = 60) -> list[ReceivedSpan]:
        """Return the spans with this beginning of a name, once there are as many."""

        def enough() -> bool:
            return sum(span.name.startswith(beginning) for span in self.spans) >= count

        with self.came:
            assert self.came.wait_for(enough, within), [span.name for span in self.spans]
        return self.named(beginning)


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, str(kind))


def _span(raw: Any) -> ReceivedSpan:
    return ReceivedSpan(
        name=raw.name,
        trace=raw.trace_id.hex(),
        id=raw.span_id.hex(),
        parent=raw.parent_span_id.hex(),
        start=raw.start_time_unix_nano / 1e9,
        end=raw.end_time_unix_nano / 1e9,
        failed=raw.status.code == raw.status.STATUS_CODE_ERROR,
        attributes={x.key: _value(x.value) for x in raw.attributes},
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in raw.links],
    )


@contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector on a free port of this host."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if found.status == 200 and self.path == "/v1/traces":
                found.take(body, {name.lower(): value for name, value in self.headers.items()})
            elif found.status == 200 and self.path == "/v1/metrics":
                found.take_metrics(body)
            self.send_response(found.status if self.path in ("/v1/traces", "/v1/metrics") else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
