"""This module runs the life of a worker: register, connect, poll, be ready, drain, disconnect.

Signals only set events. SIGQUIT drains: polling stops, and running steps have all the time they need. SIGTERM or SIGINT
stops: steps have the grace period, then they are cancelled (and another worker takes them up). A second signal more
than 1 s later forces the end: the exit code is 75.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import structlog

from kubiya_worker._supervisor.posix.notify import NotifySender
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.control_plane.sender import SpoolSender
from kubiya_worker.errors import EX_OK, EX_SOFTWARE, EX_TEMPFAIL, WorkerError
from kubiya_worker.process import confinement_log, deployment, self_check, startup_checks
from kubiya_worker.process.counters import ActivityCounters
from kubiya_worker.process.grace_expiry import GraceExpiry
from kubiya_worker.process.health import LoopWatchdog, ProbeFile
from kubiya_worker.process.heartbeat import Heartbeat, HeartbeatReport
from kubiya_worker.process.live_worker import Gauges, LiveWorker
from kubiya_worker.process.logging import Verbosity
from kubiya_worker.process.metrics_server import Monitor
from kubiya_worker.process.places import spool_of
from kubiya_worker.process.redaction_socket import RedactionSocket
from kubiya_worker.process.registration import StoppedEarly, register
from kubiya_worker.process.restart_facts import restarts
from kubiya_worker.process.single_execution import SingleExecution
from kubiya_worker.process.stop import Stop, stop_with_supervisor
from kubiya_worker.process.temporal_work import TemporalWork
from kubiya_worker.process.wishes import Wishes
from kubiya_worker.process.worker_setup import WorkerSetup
from kubiya_worker.process.worker_state import StatusFile, WorkerState
from kubiya_worker.protocol import names

log = structlog.get_logger()

TAKE_BACK_WITHIN: Final = 2.0  # seconds to wait for a running registration when the worker is stopped


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
        self._notifier = NotifySender(os.environ)
        self._alive = ProbeFile(settings.alive_file)
        self._watchdog = LoopWatchdog(self._alive, self._notifier)
        counters = ActivityCounters()
        self._gauges = Gauges(counters, GraceExpiry(), Monitor(settings, counters, self._unregistered_state))

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
            self._gauges.monitor.close()
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
        single = SingleExecution(self._setup.control_plane.queues, registration)
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
        live = self._live_worker(registration)
        heartbeat = self._heartbeat(live)
        redaction = RedactionSocket(live.settings.status_file, lambda: self._setup.redact.secrets)
        status = self._status_file(live, redaction.address)
        sender = SpoolSender(self._setup.control_plane, live.spool)
        work = TemporalWork(live, self._notify_status)

        def changed() -> None:
            status.update()
            heartbeat.soon()

        live.state.changed = changed
        background = {asyncio.create_task(task) for task in (*self._checks(live, heartbeat), work.preload())}
        heartbeat.start()
        status.start()
        sender.start()
        try:
            return await work.run()
        finally:
            for task in background:
                task.cancel()
            await asyncio.wait(background)
            await asyncio.to_thread(sender.stop)
            await asyncio.to_thread(heartbeat.stop)
            await asyncio.to_thread(status.stop)
            redaction.close()

    def _live_worker(self, registration: Registration) -> LiveWorker:
        """Return what the worker's parts share from now on, and let the metrics show it."""
        settings, control_plane = self._settings, self._setup.control_plane
        state = WorkerState(settings, registration, self._watchdog, self._notifier, self._setup.began)
        spool = spool_of(settings, registration)

        def figures() -> dict[str, Any]:
            waiting = {"event_lag": max(control_plane.event_lag, spool.age()), "spool_bytes": spool.bytes}
            return {**state.snapshot(), **waiting, "events_lost": spool.lost}

        self._gauges.monitor.registered(registration, control_plane.queues, figures)
        return LiveWorker(
            self._setup,
            self._stop,
            registration,
            self._gauges,
            state,
            spool,
            wishes=Wishes(self._stop, registration.wish),
            findings=self_check.HostFindings(self._setup.redact),
        )

    def _heartbeat(self, live: LiveWorker) -> Heartbeat:
        settings, constant = live.settings, self._constant_facts(live.wishes)
        report = HeartbeatReport(
            live.gauges.counters,
            settings.worker_hostname,
            health=lambda: {**live.state.snapshot(), **constant, **live.findings.told()},
            logs=self._setup.recent.take,
        )
        return Heartbeat(
            self._setup.control_plane,
            live.registration.worker_id,
            report,
            interval=settings.heartbeat_interval,
            heard=live.wishes.heard,
        )

    def _constant_facts(self, wishes: Wishes) -> dict[str, Any]:
        """Return what each heartbeat tells of this worker that does not change."""
        return {
            "slots": self._settings.max_concurrent_activities,
            **deployment.told(self._settings),
            **restarts(self._settings.supervisor_state),
            "wishes": wishes.possible,
            "trials": [*names.TRIAL_KINDS, names.TRIAL_MODEL],
        }

    def _status_file(self, live: LiveWorker, redaction_address: str | None) -> StatusFile:
        constant = {
            "slots": live.settings.max_concurrent_activities,
            "metrics_url": live.gauges.monitor.url,
            "redaction": redaction_address,
        }
        return StatusFile(
            live.settings.status_file,
            lambda: {**live.gauges.tasks(), **live.state.facts(), **constant, **live.findings.told()},
        )

    def _checks(self, live: LiveWorker, heartbeat: Heartbeat) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return what looks at the settings and at the host once the worker polls."""
        settings, polled, findings = live.settings, live.state.polled, live.findings
        return (
            startup_checks.check(
                settings, live.registration, self._setup.control_plane, polled, self._setup.variables, findings
            ),
            self_check.watch(settings, polled, findings, heartbeat.soon),
        )
