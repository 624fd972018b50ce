"""Sends what is measured of models, tools and agents to an OpenTelemetry collector. Imported only where that is on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, PeriodicExportingMetricReader

from kubiya_worker import __version__
from kubiya_worker.control_plane.throttled_log import ThrottledLog
from kubiya_worker.tracing.exporter import request_timeout, resource
from kubiya_worker.tracing.measures import MEASURES, Measured

FLUSH_WITHIN: Final = 5_000.0  # milliseconds


class _WatchedMetrics(OTLPMetricExporter):
    """An exporter that tells once in ten minutes that metrics could not be sent."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        super().__init__(endpoint=url, headers=dict(headers), timeout=request_timeout("METRICS"))
        self._url, self._told = url, ThrottledLog()

    def export(self, metrics_data: MetricsData, *args: Any, **options: Any) -> MetricExportResult:
        try:
            result = super().export(metrics_data, *args, **options)
        except Exception as error:  # requests raises for an address that it cannot use at all
            self._told.add("metrics.export_failed", self._url, f"{self._url} {type(error).__name__}")
            return MetricExportResult.FAILURE
        if result is not MetricExportResult.SUCCESS:
            self._told.add("metrics.export_failed", self._url, f"{self._url}; see kubiya doctor")
        return result


class MetricExporter:
    """Histograms that a thread sends once a minute, or as often as OTEL_METRIC_EXPORT_INTERVAL says."""

    def __init__(self, url: str, headers: Mapping[str, str], about: Mapping[str, str]) -> None:
        self._provider = MeterProvider(
            [PeriodicExportingMetricReader(_WatchedMetrics(url, headers))],
            resource(about),
            shutdown_on_exit=False,  # the process ends by os._exit, after `flush`
        )
        meter = self._provider.get_meter("kubiya-worker", __version__)
        self._histograms = {
            measure.name: meter.create_histogram(
                measure.name, measure.unit, measure.help, explicit_bucket_boundaries_advisory=measure.buckets
            )
            for measure in MEASURES
        }

    def record(self, measured: Measured) -> None:
        """Count a value; this does not wait."""
        self._histograms[measured.measure.name].record(measured.value, measured.known)

    def flush(self) -> None:
        """Send what was counted; this may take as long as a request."""
        self._provider.force_flush(FLUSH_WITHIN)
