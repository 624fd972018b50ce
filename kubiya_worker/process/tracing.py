"""This module turns tracing on where an address of a collector is set, and sends the last spans at the worker's end."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from kubiya_worker.process.self_check import HostFindings
from kubiya_worker.protocol.calls import Context
from kubiya_worker.settings import Settings

if TYPE_CHECKING:
    from kubiya_worker.tracing.exporter import Exporter
    from kubiya_worker.tracing.interceptor import Tracing
    from kubiya_worker.tracing.measures import Measured
    from kubiya_worker.tracing.metric_exporter import MetricExporter

log = structlog.get_logger()

INSTALL: Final = "pip install 'kubiya-worker[otel]'"
FLUSH_WITHIN: Final = 5.0  # seconds at the end of the worker
HURRIED: Final = 0.5


PATH: Final = "/v1/traces"
METRICS_PATH: Final = "/v1/metrics"


def traces_url(endpoint: str) -> str:
    """Return where spans are posted to, below the address that OTEL_EXPORTER_OTLP_ENDPOINT gives."""
    return endpoint if endpoint.endswith(PATH) else f"{endpoint}{PATH}"


def metrics_url(endpoint: str) -> str:
    return f"{endpoint.removesuffix(PATH)}{METRICS_PATH}"


def installed() -> bool:
    """Return whether the packages of the extra `otel` are there. Nothing is imported."""
    try:
        return bool(
            importlib.util.find_spec("opentelemetry.sdk.trace")
            and importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http")
        )
    except ModuleNotFoundError:
        return False


class WorkerTracing:
    """The tracing of a worker; `interceptor` is None where it is off, `record` where no metrics are sent."""

    def __init__(
        self,
        interceptor: Tracing | None = None,
        exporter: Exporter | None = None,
        metrics: MetricExporter | None = None,
    ) -> None:
        self.interceptor, self._exporter, self._metrics = interceptor, exporter, metrics
        self.record: Callable[[Measured], None] | None = metrics.record if metrics else None

    @classmethod
    def open(cls, settings: Settings, worker_id: str, queue: str, findings: HostFindings) -> WorkerTracing:
        """Return the tracing that the settings ask for. What keeps it from starting is a finding, and it stays off."""
        if not settings.otlp_endpoint:
            return cls()
        if not installed():
            return cls._off("the extra otel is not installed", findings)
        try:
            from kubiya_worker.tracing.exporter import Exporter
            from kubiya_worker.tracing.interceptor import Tracing

            url = traces_url(settings.otlp_endpoint)
            about = {"service.instance.id": worker_id, "host.name": settings.worker_hostname, "kubiya.queue": queue}
            exporter = Exporter(url, settings.otlp_header_values, about)
            metrics = None
            if settings.otlp_metrics == "otlp":
                from kubiya_worker.tracing.metric_exporter import MetricExporter

                metrics = MetricExporter(metrics_url(settings.otlp_endpoint), settings.otlp_header_values, about)
        except Exception as error:  # such as packages of versions that do not fit one another
            return cls._off(f"{type(error).__name__}: {error}", findings)
        log.info("tracing.on", endpoint=url, ratio=settings.trace_ratio, metrics=metrics is not None)
        interceptor = Tracing(exporter, worker_id, settings.trace_ratio, to_models=settings.trace_models)
        return cls(interceptor, exporter, metrics)

    @classmethod
    def _off(cls, why: str, findings: HostFindings) -> WorkerTracing:
        log.warning("tracing.off", error=why, remedy=INSTALL)
        findings.add("start", "tracing", f"no traces are sent: {why}", INSTALL)
        return cls()

    def use(self, contexts: Callable[[str], Context | None]) -> None:
        """Read what is known of executions from `contexts`."""
        if self.interceptor is not None:
            self.interceptor.contexts = contexts

    async def close(self, *, hurried: bool) -> None:
        """Send what still waits, for a few seconds at most; a forced stop has less than one."""
        waiting = [each.flush for each in (self._exporter, self._metrics) if each is not None]
        flushing = [asyncio.ensure_future(asyncio.to_thread(flush)) for flush in waiting]
        if flushing:
            await asyncio.wait(flushing, timeout=HURRIED if hurried else FLUSH_WITHIN)
