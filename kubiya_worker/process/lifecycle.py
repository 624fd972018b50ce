"""This module runs the life of a worker: register, connect, poll, be ready, drain, disconnect.

Signals only set events. SIGQUIT drains: polling stops, and running steps have all the time they need. SIGTERM or SIGINT
stops: steps have the grace period, then they are cancelled (and another worker takes them up). A second signal more
than 1 s later forces the end: the exit code is 75.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import structlog

from kubiya_worker.control_plane.client import ControlPlane, Registration
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.control_plane.sender import Sender
from kubiya_worker.control_plane.spool import Spool
from kubiya_worker.errors import EX_OK, EX_SOFTWARE, EX_TEMPFAIL, WorkerError
from kubiya_worker.payloads.converter import Payloads
from kubiya_worker.process import deployment, first_look, parent, queue_settings
from kubiya_worker.process.assembly import build_worker, endpoints_of, routes_of, spool_of
from kubiya_worker.process.condition import Condition
from kubiya_worker.process.counters import Counters
from kubiya_worker.process.cut import Cut
from kubiya_worker.process.drain import finish
from kubiya_worker.process.health import HealthFile, Pulse
from kubiya_worker.process.heartbeat import Heartbeat
from kubiya_worker.process.hider import Hider
from kubiya_worker.process.logging import Recent
from kubiya_worker.process.monitor import Monitor
from kubiya_worker.process.notify import Notifier
from kubiya_worker.process.polls import Polls
from kubiya_worker.process.readiness import watch
from kubiya_worker.process.registration import Stopped, register
from kubiya_worker.process.single import SingleExecution
from kubiya_worker.process.status import StatusFile
from kubiya_worker.process.stop import Stop
from kubiya_worker.process.temporal import connect, open_executions
from kubiya_worker.process.verbosity import Verbosity
from kubiya_worker.settings import Settings

log = structlog.get_logger()

TAKE_BACK_WITHIN: Final = 2.0  # seconds to wait for a running registration when the worker is stopped
CLOSE_WITHIN: Final = 1.0
QUEUE_WITHIN: Final = 2.0  # seconds to wait for the queue's own settings, once Temporal is connected


async def run(
    settings: Settings, control_plane: ControlPlane, payloads: Payloads, hide: Hider, recent: Recent, began: float
) -> int:
    """Run a worker from registration to disconnection.

    Return the exit code; raise WorkerError when a person has to correct something.
    """
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(max_workers=32, thread_name_prefix="io"))
    stop = Stop(loop, settings.grace_period)
    stop.install()
    Verbosity(loop).install()
    parent.watch(lambda: stop.cut("its supervisor is gone"))
    return await Life(settings, control_plane, payloads, hide, recent, began, stop).run()


class Life:
    """The state of a worker from its start to its end; each phase runs the next one and removes what it has made."""

    def __init__(
        self,
        settings: Settings,
        control_plane: ControlPlane,
        payloads: Payloads,
        hide: Hider,
        recent: Recent,
        began: float,
        stop: Stop,
    ) -> None:
        self._settings, self._control_plane, self._payloads = settings, control_plane, payloads
        self._hide, self._recent, self._began, self._stop = hide, recent, began, stop
        self._notifier, self._counters, self._cut = Notifier(), Counters(), Cut()
        self._alive = HealthFile(settings.alive_file)
        self._pulse = Pulse(self._alive, self._notifier)
        self._monitor = Monitor(settings, self._counters, self._before)

    def _before(self) -> dict[str, Any]:
        """Return the state of a worker that is not registered yet."""
        return {"state": "registering", "polling": False, **self._pulse.snapshot()}

    async def run(self) -> int:
        self._say(f"registering with {self._settings.control_plane_url}")
        beating = asyncio.create_task(self._pulse.run())
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

    def _say(self, text: str) -> None:
        self._notifier.send(f"STATUS={text}")

    async def _register(self) -> Registration | None:
        """Register; return None when the worker was stopped first.

        A registration that succeeds after the stop is undone.
        """
        stop = self._stop
        registering = asyncio.create_task(
            asyncio.to_thread(register, self._settings, self._control_plane, stop.thread_event)
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
        except Stopped:
            return None
        if stop.asked.is_set():
            await asyncio.to_thread(self._disconnect, registration.worker_id, EX_OK, None)
            return None
        return registration

    async def _registered(self, registration: Registration) -> int:
        """Run a registered worker until it ends, then disconnect with the reason and return the exit code."""
        settings, stop, hide = self._settings, self._stop, self._hide
        hide.add((registration.temporal_api_key, registration.litellm_api_key))
        log.info(
            "worker.registered",
            queue=registration.queue_name or settings.queue_id,
            worker_id=registration.worker_id,
            seconds=time.monotonic() - self._began,
        )

        def goodbye(code: int, message: str | None) -> None:
            self._disconnect(registration.worker_id, code, hide(message) if message else None)

        stop.last_words = lambda: goodbye(EX_TEMPFAIL, "cut off: the event loop did not come to an end in time")
        single = await self._single(registration)
        watching = asyncio.create_task(single.watch(stop)) if single else None
        code, error_message = EX_OK, None
        try:
            self._payloads.require(registration.payload_key_id)
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
            await asyncio.to_thread(goodbye, code, error_message)
            if single:
                await asyncio.to_thread(single.clear_away)
        return code

    async def _single(self, registration: Registration) -> SingleExecution | None:
        """Return what ends a worker after one run, or None; a setting or the queue can ask for it."""
        if not (self._settings.single_execution or registration.queue_single_execution):
            return None
        single = SingleExecution(self._control_plane, registration)
        await single.begin()
        return single

    def _disconnect(self, worker_id: str, code: int, message: str | None) -> None:
        try:
            self._control_plane.disconnect(worker_id, reason=self._stop.reason, exit_code=code, error_message=message)
            log.info("worker.disconnected", worker_id=worker_id, exit_code=code)
        except ControlPlaneError as error:
            log.warning("worker.disconnect_failed", error=error.message)

    async def _serve(self, registration: Registration) -> int:
        """Start heartbeats and run the worker; heartbeats go on while Temporal is away, as the worker is alive."""
        settings, control_plane, monitor = self._settings, self._control_plane, self._monitor
        spool = spool_of(settings, registration)
        sender = Sender(control_plane, spool)
        condition = Condition(settings, registration, self._pulse, self._notifier, self._began)
        heartbeat = Heartbeat(
            control_plane,
            registration.worker_id,
            self._counters,
            interval=settings.heartbeat_interval,
            hostname=settings.worker_hostname,
            health=condition.snapshot,
            logs=self._recent.take,
        )

        def figures() -> dict[str, Any]:
            waiting = {"event_lag": max(control_plane.event_lag, spool.age()), "spool_bytes": spool.bytes}
            return {**condition.snapshot(), **waiting, "events_lost": spool.lost}

        monitor.registered(registration, control_plane, figures)
        about = {"slots": settings.max_concurrent_activities, "metrics_url": monitor.url}
        status = StatusFile(settings.status_file, lambda: {**self._tasks(), **condition.facts(), **about})

        def changed() -> None:
            status.update()
            heartbeat.soon()

        condition.changed = changed
        looking = asyncio.create_task(first_look.look(settings, registration, control_plane, condition.polled))
        heartbeat.start()
        status.start()
        sender.start()
        try:
            return await self._work(registration, condition, spool)
        finally:
            looking.cancel()
            await asyncio.wait({looking})
            await asyncio.to_thread(sender.stop)
            await asyncio.to_thread(heartbeat.stop)
            await asyncio.to_thread(status.stop)

    def _tasks(self) -> dict[str, Any]:
        counts = self._counters.counts()
        return {
            "active_tasks": counts.active,
            "completed_tasks": counts.completed,
            "failed_tasks": counts.failed,
            "current_task": self._counters.current(),
            "cut_tasks": self._cut.number,
        }

    async def _work(self, registration: Registration, condition: Condition, spool: Spool) -> int:
        """Connect, poll, and end when asked to; return the exit code."""
        settings, stop, counters, cut = self._settings, self._stop, self._counters, self._cut
        identity = f"{registration.worker_id}@{settings.worker_hostname}"
        self._say("connecting to Temporal")
        queue = registration.queue_id or settings.queue_id
        reading = asyncio.create_task(asyncio.to_thread(queue_settings.read, self._control_plane, queue))
        connecting = asyncio.create_task(
            connect(settings, registration, identity, self._payloads, self._monitor.sdk_port, self._say)
        )
        stopping = asyncio.create_task(stop.asked.wait())
        await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not connecting.done():
            connecting.cancel()
            reading.cancel()
            log.info("worker.stopped", reason=stop.reason, connected=False)
            return EX_OK
        client = connecting.result()
        await deployment.tell(client, settings)
        await asyncio.wait({reading, stopping}, timeout=QUEUE_WITHIN, return_when=asyncio.FIRST_COMPLETED)
        config = reading.result() if reading.done() else {}
        routes = routes_of(settings) or queue_settings.routes_of(config, settings)
        self._hide.add(route.key for route in routes.values())
        self._hide.add(secret for route in routes.values() for secret in route.compatibility.secrets)
        self._hide.add(endpoints_of(settings).secrets)
        interceptors = [cut, counters, self._monitor.meter]
        worker, runtime = build_worker(
            settings, client, registration, self._control_plane, spool, self._hide.secrets, interceptors, routes
        )
        queue_settings.tell_version(config, self._control_plane.features)
        running = asyncio.create_task(worker.run())
        polls = Polls(client, registration.task_queue_name, identity)
        watching = asyncio.create_task(
            watch(
                lambda: asyncio.ensure_future(polls()),
                lambda: counters.counts().active >= settings.max_concurrent_activities,
                condition,
            )
        )
        try:
            await asyncio.wait({running, stopping, watching}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()  # this task never ends by itself, so its end is a bug: raise its error
            watching.cancel()
            active = counters.counts().active
            condition.draining(active, hurried=not stop.drains)
            if running.done():
                running.result()  # raise the error that ended the worker
                raise WorkerError("The Temporal worker ended by itself", remedy="See the log above")
            drains, before = stop.drains, counters.counts()
            limit = "none" if drains else f"{settings.grace_period:g}s"
            log.info("worker.draining", reason=stop.reason, active=active, grace=limit)
            code = await finish(worker, running, stop, counters, cut, condition, settings.grace_period)
            if drains:  # a drain may have become a stop meanwhile, which has no time for this query
                now = counters.counts()
                finished = now.completed + now.failed - before.completed - before.failed
                left = await open_executions(client, registration.task_queue_name) if stop.drains else None
                condition.leaves(finished, left)
            return code
        finally:
            watching.cancel()
            with contextlib.suppress(Exception):  # a client that does not close cleanly changes nothing now
                await asyncio.wait_for(runtime.close(), CLOSE_WITHIN)
