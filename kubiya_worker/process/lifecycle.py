"""The life of a worker: register, connect, poll, be ready, drain, disconnect.

Signals only set events. SIGQUIT drains: polling stops, and running steps have all the time they need. SIGTERM or SIGINT
stops: they have the grace period, then they are cut off (and taken up by another worker). A second one more than 1 s
later forces: the exit code is 75.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import structlog
from temporalio.worker import Worker

from kubiya_worker.control_plane.client import ControlPlane, Registration
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.control_plane.sender import Sender
from kubiya_worker.control_plane.spool import Spool
from kubiya_worker.errors import EX_OK, EX_SOFTWARE, EX_TEMPFAIL, WorkerError
from kubiya_worker.payloads.converter import Payloads
from kubiya_worker.process import deployment, first_look, parent, queue_settings
from kubiya_worker.process.assembly import build_worker, routes_of, spool_of
from kubiya_worker.process.condition import Condition
from kubiya_worker.process.counters import Counters
from kubiya_worker.process.cut import Cut, unfinished
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

CANCEL_GRACE: Final = 5.0  # seconds that cancelled steps have to end their processes
TAKE_BACK_WITHIN: Final = 2.0  # seconds that a registration under way is waited for when the worker is stopped
CLOSE_WITHIN: Final = 1.0
POLLS_END_WITHIN: Final = 5.0  # seconds from the last step's end, in which a Temporal that is there ends them
QUEUE_WITHIN: Final = 2.0  # seconds that the queue's own settings are waited for, once Temporal is there
TELL_EVERY: Final = 1.0  # seconds between looks at what is left of a drain


async def run(
    settings: Settings, control_plane: ControlPlane, payloads: Payloads, hide: Hider, recent: Recent, began: float
) -> int:
    """From registration to disconnection. Returns the exit code; raises WorkerError for what a person has to mend."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(max_workers=32, thread_name_prefix="io"))
    stop = Stop(loop, settings.grace_period)
    stop.install()
    Verbosity(loop).install()
    parent.watch(lambda: stop.cut("its supervisor is gone"))
    notifier = Notifier()
    notifier.send(f"STATUS=registering with {settings.control_plane_url}")
    counters, alive = Counters(), HealthFile(settings.alive_file)
    pulse = Pulse(alive, notifier)
    monitor = Monitor(settings, counters, lambda: {"state": "registering", "polling": False, **pulse.snapshot()})
    beating = asyncio.create_task(pulse.run())
    try:
        registration = await _register(settings, control_plane, stop)
        if registration is None:
            log.info("worker.stopped", reason=stop.reason, registered=False)
            return EX_OK
        alive.worker_id = registration.worker_id
        return await _registered(
            settings,
            registration,
            control_plane,
            payloads,
            hide,
            stop,
            notifier,
            recent,
            began,
            counters,
            pulse,
            monitor,
        )
    finally:
        monitor.close()
        beating.cancel()
        await asyncio.wait({beating})


async def _registered(
    settings: Settings,
    registration: Registration,
    control_plane: ControlPlane,
    payloads: Payloads,
    hide: Hider,
    stop: Stop,
    notifier: Notifier,
    recent: Recent,
    began: float,
    counters: Counters,
    pulse: Pulse,
    monitor: Monitor,
) -> int:
    """Until the disconnection, which says how it ended."""
    hide.add((registration.temporal_api_key, registration.litellm_api_key))
    log.info(
        "worker.registered",
        queue=registration.queue_name or settings.queue_id,
        worker_id=registration.worker_id,
        seconds=time.monotonic() - began,
    )

    def goodbye(code: int, message: str | None) -> None:
        _disconnect(control_plane, registration.worker_id, stop.reason, code, hide(message) if message else None)

    stop.last_words = lambda: goodbye(EX_TEMPFAIL, "cut off: the event loop did not come to an end in time")
    single = await _single(settings, registration, control_plane)
    watching = asyncio.create_task(single.watch(stop)) if single else None
    code, error_message = EX_OK, None
    try:
        payloads.require(registration.payload_key_id)
        code = await _serve(
            settings,
            registration,
            control_plane,
            payloads,
            hide,
            stop,
            notifier,
            recent,
            began,
            counters,
            pulse,
            monitor,
        )
    except WorkerError as error:
        code, error_message = error.exit_code, error.line()
        raise
    except BaseException as error:
        code, error_message = EX_SOFTWARE, f"{type(error).__name__}: {error}"
        raise
    finally:
        notifier.send("STOPPING=1")
        if not stop.asked.is_set():
            stop.reason = "error"
        if watching:
            watching.cancel()
        await asyncio.to_thread(goodbye, code, error_message)
        if single:
            await asyncio.to_thread(single.clear_away)
    return code


async def _single(
    settings: Settings, registration: Registration, control_plane: ControlPlane
) -> SingleExecution | None:
    """What ends a worker that is there for one run; its queue may ask for that, too."""
    if not (settings.single_execution or registration.queue_single_execution):
        return None
    single = SingleExecution(control_plane, registration)
    await single.begin()
    return single


async def _register(settings: Settings, control_plane: ControlPlane, stop: Stop) -> Registration | None:
    """None when it was stopped before; a registration that comes through all the same is taken back."""
    registering = asyncio.create_task(asyncio.to_thread(register, settings, control_plane, stop.thread_event))
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
        await asyncio.to_thread(_disconnect, control_plane, registration.worker_id, stop.reason, EX_OK, None)
        return None
    return registration


def _disconnect(control_plane: ControlPlane, worker_id: str, reason: str, code: int, message: str | None) -> None:
    try:
        control_plane.disconnect(worker_id, reason=reason, exit_code=code, error_message=message)
        log.info("worker.disconnected", worker_id=worker_id, exit_code=code)
    except ControlPlaneError as error:
        log.warning("worker.disconnect_failed", error=error.message)


async def _serve(
    settings: Settings,
    registration: Registration,
    control_plane: ControlPlane,
    payloads: Payloads,
    hide: Hider,
    stop: Stop,
    notifier: Notifier,
    recent: Recent,
    began: float,
    counters: Counters,
    pulse: Pulse,
    monitor: Monitor,
) -> int:
    """Heartbeats go from here on, also while Temporal is away: this worker lives and says how it does."""
    cut, spool = Cut(), spool_of(settings, registration)
    sender = Sender(control_plane, spool)
    condition = Condition(settings, registration, pulse, notifier, began)
    heartbeat = Heartbeat(
        control_plane,
        registration.worker_id,
        counters,
        interval=settings.heartbeat_interval,
        hostname=settings.worker_hostname,
        health=condition.snapshot,
        logs=recent.take,
    )

    def figures() -> dict[str, Any]:
        waiting = {"event_lag": max(control_plane.event_lag, spool.age()), "spool_bytes": spool.bytes}
        return {**condition.snapshot(), **waiting, "events_lost": spool.lost}

    monitor.registered(registration, control_plane, figures)
    about = {"slots": settings.max_concurrent_activities, "metrics_url": monitor.url}
    status = StatusFile(settings.status_file, lambda: {**_tasks(counters, cut), **condition.facts(), **about})

    def changed() -> None:
        status.update()
        heartbeat.soon()

    condition.changed = changed
    looking = asyncio.create_task(first_look.look(settings, registration, control_plane, condition.polled))
    heartbeat.start()
    status.start()
    sender.start()
    try:
        return await _work(
            settings,
            registration,
            control_plane,
            payloads,
            hide,
            stop,
            notifier,
            counters,
            condition,
            monitor,
            cut,
            spool,
        )
    finally:
        looking.cancel()
        await asyncio.wait({looking})
        await asyncio.to_thread(sender.stop)
        await asyncio.to_thread(heartbeat.stop)
        await asyncio.to_thread(status.stop)


def _tasks(counters: Counters, cut: Cut) -> dict[str, Any]:
    counts = counters.counts()
    return {
        "active_tasks": counts.active,
        "completed_tasks": counts.completed,
        "failed_tasks": counts.failed,
        "current_task": counters.current(),
        "cut_tasks": cut.number,
    }


async def _work(
    settings: Settings,
    registration: Registration,
    control_plane: ControlPlane,
    payloads: Payloads,
    hide: Hider,
    stop: Stop,
    notifier: Notifier,
    counters: Counters,
    condition: Condition,
    monitor: Monitor,
    cut: Cut,
    spool: Spool,
) -> int:
    identity = f"{registration.worker_id}@{settings.worker_hostname}"
    notifier.send("STATUS=connecting to Temporal")

    def say(text: str) -> None:
        notifier.send(f"STATUS={text}")

    queue = registration.queue_id or settings.queue_id
    reading = asyncio.create_task(asyncio.to_thread(queue_settings.read, control_plane, queue))
    connecting = asyncio.create_task(connect(settings, registration, identity, payloads, monitor.sdk_port, say))
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
    hide.add(route.key for route in routes.values())
    worker, runtime = build_worker(
        settings, client, registration, control_plane, spool, hide.secrets, [cut, counters, monitor.meter], routes
    )
    queue_settings.tell_version(config)
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
            watching.result()  # a bug: it has no end of its own
        watching.cancel()
        active = counters.counts().active
        condition.draining(active, hurried=not stop.drains)
        if running.done():
            running.result()  # raises what ended it
            raise WorkerError("The Temporal worker ended by itself", remedy="See the log above")
        drains, before = stop.drains, counters.counts()
        limit = "none" if drains else f"{settings.grace_period:g}s"
        log.info("worker.draining", reason=stop.reason, active=active, grace=limit)
        code = await _finish(worker, running, stop, counters, cut, condition, settings.grace_period)
        if drains:  # in the end it may have been a stop, which has no time for questions
            now = counters.counts()
            finished = now.completed + now.failed - before.completed - before.failed
            left = await open_executions(client, registration.task_queue_name) if stop.drains else None
            condition.leaves(finished, left)
        return code
    finally:
        watching.cancel()
        with contextlib.suppress(Exception):  # a client that does not close cleanly changes nothing any more
            await asyncio.wait_for(runtime.close(), CLOSE_WITHIN)


async def _finish(
    worker: Worker,
    running: asyncio.Task[None],
    stop: Stop,
    counters: Counters,
    cut: Cut,
    condition: Condition,
    grace: float,
) -> int:
    """No more polling; then what runs has all the time it needs, or the grace period, or none. The exit code."""
    began = time.monotonic()
    shutdown = asyncio.create_task(worker.shutdown())
    hurried, forced = (asyncio.create_task(event.wait()) for event in (stop.hurried, stop.forced))
    telling = asyncio.create_task(_tell(stop, counters, condition))
    only_polls = asyncio.create_task(_only_polls(worker))
    try:
        if stop.drains:
            await asyncio.wait({shutdown, hurried, only_polls}, return_when=asyncio.FIRST_COMPLETED)
            if not shutdown.done() and not only_polls.done():
                active = counters.counts().active
                log.info("worker.drain_limited", reason=stop.reason, active=active, grace=f"{grace:g}s")
        over = {shutdown, forced, only_polls}
        done, _ = await asyncio.wait(over, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            cut.make(worker)
            log.warning("worker.cut_off", steps=cut.number, active=counters.counts().active)
            await asyncio.wait(over, timeout=CANCEL_GRACE, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (hurried, forced, telling, only_polls):
            task.cancel()
    seconds = time.monotonic() - began
    if shutdown.done():
        shutdown.result()
        await asyncio.wait({running}, timeout=CANCEL_GRACE)
        log.info("worker.drained", cut=cut.number, seconds=seconds)
        return EX_OK
    if only_polls.done() and not stop.forced.is_set():
        log.warning("worker.drained_without_temporal", cut=cut.number, seconds=seconds)
        return EX_OK
    active = counters.counts().active
    cut.number = max(cut.number, active)
    log.warning("worker.forced", active=active, seconds=seconds)
    return EX_TEMPFAIL


async def _only_polls(worker: Worker) -> None:
    """Until no step has been there for POLLS_END_WITHIN.

    A server can end the polls of a worker that leaves (its capability `worker_poll_complete_on_shutdown`), so that no
    task is lost in them. The library waits for that however long the server is away, and a drain would never end.
    """
    since = time.monotonic()
    while time.monotonic() - since < POLLS_END_WITHIN:
        await asyncio.sleep(0.5)
        if unfinished(worker) != 0:
            since = time.monotonic()


async def _tell(stop: Stop, counters: Counters, condition: Condition) -> None:
    """For ever: how many steps are left, and that a stop has taken a drain over."""
    said = (stop.hurried.is_set(), counters.counts().active)
    while True:
        await asyncio.sleep(TELL_EVERY)
        now = (stop.hurried.is_set(), counters.counts().active)
        if now != said:
            condition.draining(now[1], hurried=now[0])
            said = now
