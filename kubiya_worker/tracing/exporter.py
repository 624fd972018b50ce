"""Sends spans to an OpenTelemetry collector over OTLP and HTTP. Nothing here is imported while tracing is off."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Final

import structlog
from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from kubiya_worker import __version__
from kubiya_worker.control_plane.throttled_log import ThrottledLog
from kubiya_worker.tracing import conventions, ids, spans

log = structlog.get_logger()

TIMEOUT: Final = 5.0  # seconds for one request, its retries included
DELAY: Final = 1000.0  # milliseconds that a span waits for others; what waits when a worker is killed is lost
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class _GivenIds(IdGenerator):
    """The ids of the next span, which were derived from the execution."""

    trace = span = 1

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span


class _Watched(SpanExporter):
    """An exporter that tells once in ten minutes that spans could not be sent."""

    def __init__(self, inner: SpanExporter, url: str) -> None:
        self._inner, self._url, self._log = inner, url, ThrottledLog()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._inner.export(spans)
        except Exception as error:  # requests raises for an address that it cannot use at all
            self._log.add("tracing.export_failed", self._url, f"{self._url} {type(error).__name__}; spans are lost")
            return SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS:
            self._log.add("tracing.export_failed", self._url, f"{self._url}; spans are lost. See kubiya doctor")
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


class Exporter:
    """Spans on their way to a collector: a thread sends them in batches, and drops what does not fit its queue."""

    def __init__(self, url: str, headers: Mapping[str, str], about: Mapping[str, str]) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # `_Watched` tells it, once
        sending = OTLPSpanExporter(endpoint=url, headers=dict(headers), timeout=request_timeout("TRACES"))
        self._given = _GivenIds()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=resource(about),
            shutdown_on_exit=False,  # the process ends by os._exit, after `flush`
            id_generator=self._given,
        )
        self._provider.add_span_processor(BatchSpanProcessor(_Watched(sending, url), schedule_delay_millis=_delay()))
        self._tracer = self._provider.get_tracer("kubiya-worker", __version__)

    def emit(self, trace: ids.TurnTrace, span: spans.Span) -> None:
        """Hand a finished span over; this does not wait."""
        self._given.trace, self._given.span = trace.trace_id, span.id
        above = Context()
        if span.parent:
            parent = SpanContext(trace.trace_id, span.parent, is_remote=True, trace_flags=_SAMPLED)
            above = api.set_span_in_context(NonRecordingSpan(parent), above)
        links = [Link(SpanContext(*span.link, is_remote=True, trace_flags=_SAMPLED))] if span.link else []
        error = {conventions.ERROR: span.error} if span.error else {}
        kind = SpanKind.CLIENT if span.calls_out else SpanKind.INTERNAL
        exported = self._tracer.start_span(
            span.name, above, kind, {**span.attributes, **error}, links, span.start, record_exception=False
        )
        if span.error:
            exported.set_status(Status(StatusCode.ERROR))
        exported.end(span.end)

    def flush(self) -> None:
        """Send what waits; this may take as long as a request."""
        self._provider.force_flush()


def resource(about: Mapping[str, str]) -> Resource:
    """Return who sends, for the collector. OpenTelemetry's own variables come first."""
    named = {"service.name": "kubiya-worker", "service.version": __version__, **about}
    return Resource(named).merge(OTELResourceDetector().detect())


def request_timeout(signal: str) -> float | None:
    """Return the time for one request, unless OpenTelemetry's own variables give one."""
    named = (f"OTEL_EXPORTER_OTLP_{signal}_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
    return None if any(os.environ.get(name) for name in named) else TIMEOUT


def _delay() -> float | None:
    return None if os.environ.get("OTEL_BSP_SCHEDULE_DELAY") else DELAY
