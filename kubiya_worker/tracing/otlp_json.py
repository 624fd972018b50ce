"""This module writes spans as OTLP JSON, which collectors take at `/v1/traces`, and in files. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kubiya_worker import __version__
from kubiya_worker.tracing import conventions as c
from kubiya_worker.tracing import ids, spans

_INTERNAL, _CLIENT, _FAILED = 1, 3, 2


def document(placed: Iterable[tuple[ids.TurnTrace, spans.Span]]) -> dict[str, Any]:
    """Return spans as an ExportTraceServiceRequest in JSON: ids are hexadecimal, large numbers are texts."""
    about = {"service.name": "kubiya-worker", "service.version": __version__}
    scope = {"name": "kubiya-worker", "version": __version__}
    written = [_span(trace, span) for trace, span in placed]
    return {
        "resourceSpans": [
            {"resource": {"attributes": _attributes(about)}, "scopeSpans": [{"scope": scope, "spans": written}]}
        ]
    }


def _span(trace: ids.TurnTrace, span: spans.Span) -> dict[str, Any]:
    error = {c.ERROR: span.error} if span.error else {}
    written: dict[str, Any] = {
        "traceId": f"{trace.trace_id:032x}",
        "spanId": f"{span.id:016x}",
        "name": span.name,
        "kind": _CLIENT if span.calls_out else _INTERNAL,
        "startTimeUnixNano": str(span.start),
        "endTimeUnixNano": str(span.end),
        "attributes": _attributes({**span.attributes, **error}),
        "status": {"code": _FAILED} if span.error else {},
    }
    if span.parent:
        written["parentSpanId"] = f"{span.parent:016x}"
    if span.link:
        written["links"] = [{"traceId": f"{span.link[0]:032x}", "spanId": f"{span.link[1]:016x}"}]
    return written


def _attributes(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in given.items()]


def _value(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list() | tuple():
            return {"arrayValue": {"values": [_value(each) for each in value]}}
        case _:
            return {"stringValue": str(value)}
