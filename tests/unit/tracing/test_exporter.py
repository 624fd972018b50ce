"""Spans reach a real collector over HTTP; one that is away is told once, and costs no run anything."""

from __future__ import annotations

import logging
import subprocess
import sys
import time

import pytest

from kubiya_worker.tracing import ids, measures, spans
from tests.support.stack import free_port

pytest.importorskip("opentelemetry.sdk.trace")

from kubiya_worker.tracing.exporter import Exporter
from kubiya_worker.tracing.metric_exporter import MetricExporter
from tests.support.collector import collector

TRACE = ids.trace_of("e1", 2, None, None, 1.0)
SPAN = spans.Span(
    "chat big", 7, TRACE.agent, 10**18, 10**18 + 5 * 10**8, {"gen_ai.request.model": "big"}, "rate_limited"
)


def test_a_span_arrives_with_its_own_ids_and_the_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    root = spans.Span("invoke_agent ops", TRACE.agent, 0, 10**18, 10**18 + 10**9, link=TRACE.link)
    with collector() as running:
        exporter = Exporter(f"{running.url}/v1/traces", {"authorization": "Bearer key"}, {"service.instance.id": "w1"})
        exporter.emit(TRACE, SPAN)
        exporter.emit(TRACE, root)
        exporter.flush()
    call, above = running.spans
    assert (call.trace, call.id, call.parent) == (f"{TRACE.trace_id:032x}", f"{7:016x}", above.id)
    assert call.attributes == {"gen_ai.request.model": "big", "error.type": "rate_limited"} and call.failed
    assert (above.id, above.parent, above.failed) == (f"{TRACE.agent:016x}", "", False)
    assert (call.start, call.end) == (1e9, 1e9 + 0.5)
    assert TRACE.link and above.links == [(f"{TRACE.link[0]:032x}", f"{TRACE.link[1]:016x}")]
    (about,) = running.resources
    assert about["service.name"] == "kubiya-worker" and about["service.instance.id"] == "w1"
    assert about["deployment.environment.name"] == "test"
    assert running.headers[0]["authorization"] == "Bearer key"


@pytest.mark.parametrize("status", [400, 401])
def test_a_collector_that_refuses_is_told_once(status: int, caplog: pytest.LogCaptureFixture) -> None:
    with collector() as running, caplog.at_level(logging.WARNING):
        running.status = status
        exporter = Exporter(f"{running.url}/v1/traces", {}, {})
        for _ in range(3):
            exporter.emit(TRACE, SPAN)
            exporter.flush()
    assert [record.message.split()[0] for record in caplog.records] == ["tracing.export_failed"]


def test_a_collector_that_is_away_holds_up_no_span(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    exporter = Exporter(f"http://127.0.0.1:{free_port()}/v1/traces", {}, {})
    began = time.monotonic()
    for _ in range(5_000):  # more than wait for it
        exporter.emit(TRACE, SPAN)
    assert time.monotonic() - began < 60  # a span that waited for the collector would take a second


OFF = """
import sys
import kubiya_worker.process.lifecycle, kubiya_worker.process.tracing, kubiya_worker.activities
from kubiya_worker.process.self_check import HostFindings
from kubiya_worker.settings.values import Settings
off = kubiya_worker.process.tracing.WorkerTracing.open(Settings("q", "key"), "w", "q", HostFindings(str))
assert off.interceptor is None
sys.exit(sum(name.split(".")[0] == "opentelemetry" or "tracing.exporter" in name for name in sys.modules))
"""


def test_nothing_of_it_is_loaded_while_it_is_off() -> None:
    assert subprocess.run([sys.executable, "-c", OFF], check=False).returncode == 0


def test_metrics_arrive_by_the_conventions_names_units_and_buckets() -> None:
    with collector() as running:
        exporter = MetricExporter(f"{running.url}/v1/metrics", {}, {"service.instance.id": "w1"})
        for tokens in (7, 30):
            exporter.record(measures.Measured(measures.TOKENS, tokens, ("chat", "acme", "big", "", "input")))
        exporter.flush()
    (usage,) = running.metrics
    assert (usage.name, usage.unit, usage.count, usage.sum) == ("gen_ai.client.token.usage", "{token}", 2, 37)
    assert usage.bounds == [4**power for power in range(14)]
    assert usage.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "acme",
        "gen_ai.request.model": "big",
        "gen_ai.token.type": "input",
    }


def test_a_collector_without_metrics_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with collector() as running, caplog.at_level(logging.WARNING):
        exporter = MetricExporter(f"{running.url}/other", {}, {})
        for _ in range(3):
            exporter.record(measures.Measured(measures.TOKENS, 1, ("chat", "acme", "big", "", "input")))
            exporter.flush()
    assert [record.message.split()[0] for record in caplog.records] == ["metrics.export_failed"]
