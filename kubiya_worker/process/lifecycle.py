"""This module runs the life of a worker: register, connect, poll, be ready, drain, disconnect.

Signals only set events. SIGQUIT drains: polling stops, and running steps have all the time they need. SIGTERM or SIGINT
stops: steps have the grace period, then they are cancelled (and another worker takes them up). A second signal more
than 1 s later forces the end: the exit code is 75.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import structlog
from temporalio.client import Client
from temporalio.worker import Interceptor

from kubiya_worker._supervisor.posix.notify import NotifySender
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.control_plane.sender import SpoolSender
from kubiya_worker.control_plane.spool import Spool
from kubiya_worker.errors import EX_OK, EX_SOFTWARE, EX_TEMPFAIL, WorkerError
from kubiya_worker.process import confinement_log, deployment, queue_settings, self_check, startup_checks, work_place
from kubiya_worker.process.assembly import build_worker
from kubiya_worker.process.counters import ActivityCounters
from kubiya_worker.process.drain import finish
from kubiya_worker.process.grace_expiry import GraceExpiry
from kubiya_worker.process.health import LoopWatchdog, ProbeFile
from kubiya_worker.process.heartbeat import Heartbeat, HeartbeatReport
from kubiya_worker.process.import_faults import ImportFaults
from kubiya_worker.process.late_steps import LateSteps
from kubiya_worker.process.logging import Verbosity
from kubiya_worker.process.long_commands import LongCommands
from kubiya_worker.process.metrics_server import Monitor
from kubiya_worker.process.places import long_commands_of, spool_of
from kubiya_worker.process.pollers import Pollers, watch
from kubiya_worker.process.preload import preload
from kubiya_worker.process.redaction_socket import RedactionSocket
from kubiya_worker.process.registration import StoppedEarly, register
from kubiya_worker.process.restart_facts import restarts
from kubiya_worker.process.single_execution import SingleExecution
from kubiya_worker.process.stop import Stop, stop_with_supervisor
from kubiya_worker.process.temporal import connect, open_executions
from kubiya_worker.process.tracing import WorkerTracing
from kubiya_worker.process.wishes import Wishes
from kubiya_worker.process.worker_pair import WorkerPair
from kubiya_worker.process.worker_setup import WorkerSetup
from kubiya_worker.process.worker_state import StatusFile, WorkerState
from kubiya_worker.protocol import names
from kubiya_worker.temporal_connection.cluster import cluster_id

if TYPE_CHECKING:
    from kubiya_worker.activities import Runtime
    from kubiya_worker.models.routes import Routing

log = structlog.get_logger()

TAKE_BACK_WITHIN: Final = 2.0  # seconds to wait for a running registration when the worker is stopped
CLOSE_WITHIN: Final = 1.0
PACKAGES_CHANGED: Final = "its packages were changed"  # why a worker ends that its supervisor starts again
QUEUE_WITHIN: Final = 2.0  # seconds to wait for the queue's own settings, once Temporal is connected


async def run(setup: WorkerSetup) -> int:
    """Run a worker from registration to disconnection.

    Return the exit code; raise WorkerError when a person has to correct something.
    """
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(max_workers=32, thread_name_prefix="io"))
    stop = Stop(loop, setup.settings.grace_period)
    stop.install()
    Verbosity(loop).install()
    stop_with_supervisor(lambda: stop.end_process("its supervisor is gone"))
    return await Life(setup, stop).run()


class Life:
    """The life of a worker from its start to its end; each phase runs the next one, then removes what it has made."""

    def __init__(self, setup: WorkerSetup, stop: Stop) -> None:
        self._setup, self._stop = setup, stop
        self._settings = settings = setup.settings
        self._notifier, self._counters, self._grace_expiry = NotifySender(os.environ), ActivityCounters(), GraceExpiry()
        self._alive = ProbeFile(settings.alive_file)
        self._watchdog = LoopWatchdog(self._alive, self._notifier)
        self._monitor = Monitor(settings, self._counters, self._unregistered_state)
        self._routed = False  # whether the queue or this host names endpoints of single models

    def _unregistered_state(self) -> dict[str, Any]:
        """Return the state of a worker that is not registered yet."""
        return {"state": "registering", "polling": False, **self._watchdog.snapshot()}

    async def run(self) -> int:
        self._notify_status(f"registering with {self._settings.control_plane_url}")
        beating = asyncio.create_task(self._watchdog.run())
        try:
            registration = await self._register()
            if registration is None:
                log.info("worker.stopped", reason=self._stop.reason, registered=False)
                return EX_OK
            self._alive.worker_id = registration.worker_id
            return await self._registered(registration)
        finally:
            self._monitor.close()
            beating.cancel()
            await asyncio.wait({beating})

    def _notify_status(self, text: str) -> None:
        self._notifier.send(f"STATUS={text}")

    async def _register(self) -> Registration | None:
        """Register; return None when the worker was stopped first.

        A registration that succeeds after the stop is undone.
        """
        stop = self._stop
        registering = asyncio.create_task(
            asyncio.to_thread(register, self._settings, self._setup.control_plane, stop.thread_event)
        )
        stopping = asyncio.create_task(stop.asked.wait())
        await asyncio.wait({registering, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not registering.done():
            await asyncio.wait({registering}, timeout=TAKE_BACK_WITHIN)
        stopping.cancel()
        if not registering.done():
            return None  # its thread ends with the process
        try:
            registration = registering.result()
        except StoppedEarly:
            return None
        if stop.asked.is_set():
            await asyncio.to_thread(self._disconnect, registration.worker_id, EX_OK, None)
            return None
        return registration

    async def _registered(self, registration: Registration) -> int:
        """Run a registered worker until it ends, then disconnect with the reason and return the exit code."""
        settings, stop, redact = self._settings, self._stop, self._setup.redact
        redact.add((registration.temporal_api_key, registration.litellm_api_key))
        log.info(
            "worker.registered",
            queue=registration.queue_name or settings.queue_id,
            worker_id=registration.worker_id,
            seconds=time.monotonic() - self._setup.began,
        )
        confinement_log.tell()  # not before: whoever misspells a queue should read of that alone

        def disconnect(code: int, message: str | None) -> None:
            self._disconnect(registration.worker_id, code, redact(message) if message else None)

        stop.before_exit = lambda: disconnect(EX_TEMPFAIL, "cut off: the event loop did not come to an end in time")
        single = await self._single(registration)
        watching = asyncio.create_task(single.watch(stop)) if single else None
        code, error_message = EX_OK, None
        try:
            self._setup.payloads.require(registration.payload_key_id)
            code = await self._serve(registration)
        except WorkerError as error:
            code, error_message = error.exit_code, error.line()
            raise
        except BaseException as error:
            code, error_message = EX_SOFTWARE, f"{type(error).__name__}: {error}"
            raise
        finally:
            self._notifier.send("STOPPING=1")
            if not stop.asked.is_set():
                stop.reason = "error"
            if watching:
                watching.cancel()
            await asyncio.to_thread(disconnect, code, error_message)
            if single:
                await asyncio.to_thread(single.delete_queue_if_done)
        return code

    async def _single(self, registration: Registration) -> SingleExecution | None:
        """Return the watcher of single-execution mode, or None; a setting or the queue turns the mode on."""
        if not (self._settings.single_execution or registration.queue_single_execution):
            return None
        single = SingleExecution(self._setup.control_plane, registration)
        await single.begin()
        return single

    def _disconnect(self, worker_id: str, code: int, message: str | None) -> None:
        try:
            self._setup.control_plane.disconnect(
                worker_id, reason=self._stop.reason, exit_code=code, error_message=message
            )
            log.info("worker.disconnected", worker_id=worker_id, exit_code=code)
        except ControlPlaneError as error:
            log.warning("worker.disconnect_failed", error=error.message)

    async def _serve(self, registration: Registration) -> int:
        """Start heartbeats and run the worker; heartbeats go on while Temporal is away, as the worker is alive."""
        settings, control_plane, monitor = self._settings, self._setup.control_plane, self._monitor
        spool = spool_of(settings, registration)
        sender = SpoolSender(control_plane, spool)
        state = WorkerState(settings, registration, self._watchdog, self._notifier, self._setup.began)
        wishes = Wishes(self._stop, registration.wish)
        constant = self._constant_facts(wishes)
        findings = self_check.HostFindings(self._setup.redact)
        report = HeartbeatReport(
            self._counters,
            settings.worker_hostname,
            health=lambda: {**state.snapshot(), **constant, **findings.told()},
            logs=self._setup.recent.take,
        )
        heartbeat = Heartbeat(
            control_plane,
            registration.worker_id,
            report,
            interval=settings.heartbeat_interval,
            heard=wishes.heard,
        )

        def figures() -> dict[str, Any]:
            waiting = {"event_lag": max(control_plane.event_lag, spool.age()), "spool_bytes": spool.bytes}
            return {**state.snapshot(), **waiting, "events_lost": spool.lost}

        monitor.registered(registration, control_plane, figures)
        redaction = RedactionSocket(settings.status_file, lambda: self._setup.redact.secrets)
        worker_facts = {
            "slots": settings.max_concurrent_activities,
            "metrics_url": monitor.url,
            "redaction": redaction.address,
        }
        status = StatusFile(
            settings.status_file, lambda: {**self._tasks(), **state.facts(), **worker_facts, **findings.told()}
        )

        def changed() -> None:
            status.update()
            heartbeat.soon()

        state.changed = changed
        checking = asyncio.create_task(
            startup_checks.check(settings, registration, control_plane, state.polled, self._setup.variables, findings)
        )
        examining = asyncio.create_task(self_check.watch(settings, state.polled, findings, heartbeat.soon))
        loading = asyncio.create_task(self._preload(registration, state.polled))
        heartbeat.start()
        status.start()
        sender.start()
        try:
            return await self._work(registration, state, spool, wishes, findings)
        finally:
            background = {checking, loading, examining}
            for task in background:
                task.cancel()
            await asyncio.wait(background)
            await asyncio.to_thread(sender.stop)
            await asyncio.to_thread(heartbeat.stop)
            await asyncio.to_thread(status.stop)
            redaction.close()

    def _constant_facts(self, wishes: Wishes) -> dict[str, Any]:
        """Return what each heartbeat tells of this worker that does not change."""
        return {
            "slots": self._settings.max_concurrent_activities,
            **deployment.told(self._settings),
            **restarts(self._settings.supervisor_state),
            "wishes": wishes.possible,
            "trials": [*names.TRIAL_KINDS, names.TRIAL_MODEL],
        }

    def _tasks(self) -> dict[str, Any]:
        counts = self._counters.counts()
        return {
            "active_tasks": counts.active,
            "completed_tasks": counts.completed,
            "failed_tasks": counts.failed,
            "current_task": self._counters.current(),
            "cut_tasks": self._grace_expiry.steps,
        }

    def _packages_changed(self, fault: str, state: WorkerState) -> None:
        """Tell that this worker must be restarted. Where a supervisor starts it again, drain it, and end."""
        state.must_restart(fault)
        if os.environ.get("NOTIFY_SOCKET"):
            self._stop.finish(PACKAGES_CHANGED)

    async def _work(
        self,
        registration: Registration,
        state: WorkerState,
        spool: Spool,
        wishes: Wishes,
        findings: self_check.HostFindings,
    ) -> int:
        """Connect, poll except while it is to be drained, and end when asked to; return the exit code."""
        settings, stop, counters, expiry = self._settings, self._stop, self._counters, self._grace_expiry
        identity = f"{registration.worker_id}@{settings.worker_hostname}"
        queue = registration.queue_id or settings.queue_id
        connected = await self._connect(registration, identity, queue, findings)
        if connected is None:
            log.info("worker.stopped", reason=stop.reason, connected=False)
            return EX_OK
        client, config = connected
        routing = self._routing(config)
        tracing = await asyncio.to_thread(
            WorkerTracing.open, settings, registration.worker_id, registration.queue_name or queue, findings
        )
        faults = ImportFaults()
        faults.on_first = lambda: self._packages_changed(faults.text, state)
        self._monitor.meter.send = tracing.record
        interceptors: list[Interceptor] = [expiry, counters, self._monitor.meter, faults]
        if tracing.interceptor is not None:
            interceptors.append(tracing.interceptor)

        def make() -> Runtime:
            from kubiya_worker.process.runtime import make_runtime  # loaded when the steps are

            runtime = make_runtime(self._setup, client, registration, spool, routing)
            runtime.crowded = lambda: counters.crowded(settings.max_concurrent_activities)
            tracing.use(runtime.contexts.get)
            self._monitor.meter.contexts = runtime.contexts.get
            return runtime

        def build() -> tuple[WorkerPair, LateSteps]:
            steps = LateSteps(make)
            if settings.names_files_of_steps:
                steps.load_now()
            return build_worker(settings, client, registration, steps, interceptors), steps

        queue_settings.warn_if_outdated(config, self._setup.control_plane.features)
        try:
            while True:
                if not wishes.drain_asked.is_set():
                    code = await self._poll(build, client, registration, identity, state, wishes)
                    if stop.asked.is_set():
                        return code
                if wishes.drain_asked.is_set():
                    state.drained(wishes.why)
                    if not await wishes.lifted():
                        state.draining(0, hurried=stop.hurried.is_set(), then=wishes.restart)
                        return EX_TEMPFAIL if wishes.restart else EX_OK
        finally:
            await tracing.close(hurried=stop.forced.is_set())

    async def _connect(
        self, registration: Registration, identity: str, queue: str, findings: self_check.HostFindings
    ) -> tuple[Client, dict[str, Any]] | None:
        """Return a client of Temporal and the queue's own settings; None when the worker was stopped first."""
        settings = self._settings
        self._notify_status("connecting to Temporal")
        reading = asyncio.create_task(asyncio.to_thread(queue_settings.read, self._setup.control_plane, queue))
        connecting = asyncio.create_task(
            connect(settings, registration, identity, self._setup.payloads, self._monitor.sdk_port, self._notify_status)
        )
        stopping = asyncio.create_task(self._stop.asked.wait())
        await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not connecting.done():
            connecting.cancel()
            reading.cancel()
            return None
        client = connecting.result()
        # Only a server that a setting names can be another one; asking costs a request before the first poll.
        cluster = await cluster_id(client) if settings.temporal_host and registration.temporal_cluster_id else ""
        for difference, remedy in work_place.differences(settings, registration, cluster):
            log.warning("worker.elsewhere", error=difference, remedy=remedy)
            findings.add("place", "work", difference, remedy)
        await deployment.log_version(client, settings)
        await asyncio.wait({reading, stopping}, timeout=QUEUE_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        return client, reading.result() if reading.done() else {}

    async def _preload(self, registration: Registration, polled: asyncio.Event) -> None:
        """Load what runs need once the worker polls; what asks models only where it knows an endpoint of some."""
        await polled.wait()
        settings = self._settings
        own = settings.litellm_api_base or settings.openai_base_url or settings.openai_api_key
        endpoint = bool(own or registration.litellm_api_url or self._routed)
        await preload(self._setup.variables, self._counters.counts, endpoint=endpoint)

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

    def _watch_pollers(self, pollers: Pollers, state: WorkerState) -> asyncio.Task[None]:
        most = self._settings.max_concurrent_activities
        watching = watch(lambda: asyncio.ensure_future(pollers()), lambda: self._counters.slots_taken() >= most, state)
        return asyncio.create_task(watching)

    async def _poll(
        self,
        build: Callable[[], tuple[WorkerPair, LateSteps]],
        client: Client,
        registration: Registration,
        identity: str,
        state: WorkerState,
        wishes: Wishes,
    ) -> int:
        """Poll until the worker is asked to end or to drain, and finish what runs; return the exit code."""
        settings, stop, counters = self._settings, self._stop, self._counters
        worker, steps = build()
        stopping = asyncio.create_task(stop.asked.wait())
        wished = asyncio.create_task(wishes.drain_asked.wait())
        running = asyncio.create_task(worker.run())
        loading = asyncio.create_task(steps.hold(state.polled))
        queue = registration.task_queue_name
        long_commands = LongCommands(
            long_commands_of(settings, registration),
            client,
            lambda place: worker.poll_host(names.host_queue(queue, place)),
        )
        state.long_commands = lambda: long_commands.running
        sweeping = asyncio.create_task(long_commands.watch())
        watching = self._watch_pollers(Pollers(client, queue, identity), state)
        try:
            ends = {running, stopping, watching, wished, loading}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if loading.done():
                loading.result()  # it never ends by itself, either
            if watching.done():
                watching.result()  # this task never ends by itself, so its end is a bug: raise its error
            watching.cancel()
            active = counters.counts().active
            then = wishes.restart or ("" if stop.asked.is_set() else f"it stays, drained {wishes.why}")
            state.draining(active, hurried=stop.hurried.is_set(), then=then)
            if running.done():
                running.result()  # raise the error that ended the worker
                raise WorkerError(
                    "Temporal's worker ended without an error and without being asked to",
                    remedy="Its last lines in the log above say more; a supervisor starts it again",
                )
            drains, counts_before = stop.drains, counters.counts()
            reason = stop.reason if stop.asked.is_set() else f"asked {wishes.why}"
            limit = "none" if not stop.hurried.is_set() else f"{settings.grace_period:g}s"
            log.info("worker.draining", reason=reason, active=active, grace=limit)
            code = await finish(worker, running, stop, counters, self._grace_expiry, state)
            if stop.asked.is_set() and not wishes.restart and not settings.keep_long_commands:
                await long_commands.end_own()
            if stop.reason == PACKAGES_CHANGED or wishes.restart:
                code = EX_TEMPFAIL  # a supervisor starts it again; 0 would say that it has finished
            if drains:  # a drain may have become a stop meanwhile, which has no time for this query
                now = counters.counts()
                finished = now.completed + now.failed - counts_before.completed - counts_before.failed
                left = await open_executions(client, queue) if stop.drains else None
                state.record_drain(finished, left)
            return code
        finally:
            for task in (watching, stopping, wished, sweeping, loading):
                task.cancel()
            with contextlib.suppress(Exception):  # a client that does not close cleanly changes nothing now
                await asyncio.wait_for(steps.close(), CLOSE_WITHIN)
