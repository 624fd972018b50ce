"""This module has the work of a registered worker: it connects to Temporal, and polls except while it is drained."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import structlog
from temporalio.client import Client
from temporalio.worker import Interceptor

from kubiya_worker.errors import EX_OK, EX_TEMPFAIL
from kubiya_worker.process import deployment, queue_settings, work_place
from kubiya_worker.process.assembly import build_worker
from kubiya_worker.process.import_faults import ImportFaults
from kubiya_worker.process.late_steps import LateSteps
from kubiya_worker.process.live_worker import LiveWorker
from kubiya_worker.process.polling import PACKAGES_CHANGED, Polling
from kubiya_worker.process.preload import preload
from kubiya_worker.process.temporal import connect
from kubiya_worker.process.tracing import WorkerTracing
from kubiya_worker.temporal_connection.cluster import cluster_id

if TYPE_CHECKING:
    from kubiya_worker.activities import Runtime
    from kubiya_worker.models.routes import Routing

log = structlog.get_logger()

QUEUE_WITHIN: Final = 2.0  # seconds to wait for the queue's own settings, once Temporal is connected


class TemporalWork:
    """The work of one worker: a client of Temporal, where models are asked, and one time of polling after the other."""

    def __init__(self, live: LiveWorker, notify_status: Callable[[str], None]) -> None:
        self._live, self._notify_status = live, notify_status
        self._settings, self._setup, self._stop = live.settings, live.setup, live.stop
        self._routed = False  # whether the queue or this host names endpoints of single models

    async def run(self) -> int:
        """Connect, poll except while it is to be drained, and end when asked to; return the exit code."""
        live, settings = self._live, self._settings
        connected = await self._connect()
        if connected is None:
            log.info("worker.stopped", reason=self._stop.reason, connected=False)
            return EX_OK
        client, config = connected
        routing = self._routing(config)
        queue_name = live.registration.queue_name or live.queue_id
        tracing = await asyncio.to_thread(
            WorkerTracing.open, settings, live.registration.worker_id, queue_name, live.findings
        )
        interceptors = self._interceptors(tracing)
        queue_settings.warn_if_outdated(config, self._setup.control_plane.features)

        def poll() -> Polling:
            steps = LateSteps(lambda: self._runtime(client, routing, tracing))
            if settings.names_files_of_steps:
                steps.load_now()
            pair = build_worker(settings, client, live.registration, steps, interceptors)
            return Polling(live, client, pair, steps)

        try:
            return await self._poll_and_drain(poll)
        finally:
            await tracing.close(hurried=self._stop.forced.is_set())

    async def _poll_and_drain(self, poll: Callable[[], Polling]) -> int:
        """Poll; stay without work while somebody wishes a drain; poll again when that is lifted."""
        stop, wishes, state = self._stop, self._live.wishes, self._live.state
        while True:
            if not wishes.drain_asked.is_set():
                code = await poll().run()
                if stop.asked.is_set():
                    return code
            if wishes.drain_asked.is_set():
                state.drained(wishes.why)
                if not await wishes.lifted():
                    state.draining(0, hurried=stop.hurried.is_set(), then=wishes.restart)
                    return EX_TEMPFAIL if wishes.restart else EX_OK

    def _interceptors(self, tracing: WorkerTracing) -> list[Interceptor]:
        """Return what is around each step: the grace period's end, counts, measures, faults of imports, spans."""
        gauges, faults = self._live.gauges, ImportFaults()
        faults.on_first = lambda: self._packages_changed(faults.text)
        gauges.monitor.meter.send = tracing.record
        around: list[Interceptor] = [gauges.grace_expiry, gauges.counters, gauges.monitor.meter, faults]
        return around if tracing.interceptor is None else [*around, tracing.interceptor]

    def _runtime(self, client: Client, routing: Routing | None, tracing: WorkerTracing) -> Runtime:
        from kubiya_worker.process.runtime import make_runtime  # loaded when the steps are

        live = self._live
        runtime = make_runtime(self._setup, client, live.registration, live.spool, routing)
        runtime.crowded = lambda: live.gauges.counters.crowded(self._settings.max_concurrent_activities)
        tracing.use(runtime.memory.contexts.get)
        live.gauges.monitor.meter.contexts = runtime.memory.contexts.get
        return runtime

    def _packages_changed(self, fault: str) -> None:
        """Tell that this worker must be restarted. Where a supervisor starts it again, drain it, and end."""
        self._live.state.must_restart(fault)
        if os.environ.get("NOTIFY_SOCKET"):
            self._stop.finish(PACKAGES_CHANGED)

    async def _connect(self) -> tuple[Client, dict[str, Any]] | None:
        """Return a client of Temporal and the queue's own settings; None when the worker was stopped first."""
        live, settings = self._live, self._settings
        self._notify_status("connecting to Temporal")
        reading = asyncio.create_task(
            asyncio.to_thread(queue_settings.read, self._setup.control_plane.queues, live.queue_id)
        )
        connecting = asyncio.create_task(
            connect(
                settings,
                live.registration,
                live.identity,
                self._setup.payloads,
                live.gauges.monitor.sdk_port,
                self._notify_status,
            )
        )
        stopping = asyncio.create_task(self._stop.asked.wait())
        await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not connecting.done():
            connecting.cancel()
            reading.cancel()
            return None
        client = connecting.result()
        # Only a server that a setting names can be another one; asking costs a request before the first poll.
        cluster = await cluster_id(client) if settings.temporal_host and live.registration.temporal_cluster_id else ""
        for difference, remedy in work_place.differences(settings, live.registration, cluster):
            log.warning("worker.elsewhere", error=difference, remedy=remedy)
            live.findings.add("place", "work", difference, remedy)
        await deployment.log_version(client, settings)
        await asyncio.wait({reading, stopping}, timeout=QUEUE_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        return client, reading.result() if reading.done() else {}

    async def preload(self) -> None:
        """Load what runs need once the worker polls; what asks models only where it knows an endpoint of some."""
        await self._live.state.polled.wait()
        settings = self._settings
        own = settings.litellm_api_base or settings.openai_base_url or settings.openai_api_key
        known = bool(own or self._live.registration.litellm_api_url or self._routed)
        await preload(self._setup.variables, self._live.gauges.counters.counts, endpoint=known)

    def _routing(self, config: dict[str, Any]) -> Routing | None:
        """Return where models are asked, by the queue's settings and the host's, and redact the keys in it."""
        settings = self._settings
        own = queue_settings.own_routes(settings, self._setup.variables)
        routing = queue_settings.routing_of(config, settings, own, self._setup.variables)
        if routing is not None:
            self._routed = bool(routing.routes)
            self._setup.redact.add(route.key for route in routing.routes.values())
            self._setup.redact.add(
                secret for route in routing.routes.values() for secret in route.compatibility.secrets
            )
        if settings.model_compatibility:
            from kubiya_worker.process.model_endpoints import endpoints_of

            self._setup.redact.add(endpoints_of(settings, self._setup.variables).secrets)
        return routing
