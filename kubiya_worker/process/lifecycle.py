"""The life of a worker: register, connect, poll, be ready, drain, disconnect.

Signals only set events. SIGTERM or SIGINT drains: polling stops, running steps have the grace period to finish. A
second signal more than 1 s later forces: what runs is cut off (and taken up by another worker), the exit code is 75.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final, NoReturn

import structlog
from temporalio.client import Client
from temporalio.worker import Interceptor, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from kubiya_worker import activities, extensions
from kubiya_worker.control_plane.client import ControlPlane, Registration
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.errors import EX_OK, EX_SOFTWARE, EX_TEMPFAIL, WorkerError
from kubiya_worker.models import Endpoint, Models
from kubiya_worker.process import parent
from kubiya_worker.process.counters import Counters
from kubiya_worker.process.health import HealthFile, Pulse
from kubiya_worker.process.heartbeat import Heartbeat
from kubiya_worker.process.logging import Recent
from kubiya_worker.process.main import leave
from kubiya_worker.process.monitor import Monitor
from kubiya_worker.process.notify import Notifier
from kubiya_worker.process.readiness import last_polls, watch
from kubiya_worker.process.registration import Stopped, register
from kubiya_worker.process.status import StatusFile
from kubiya_worker.process.temporal import connect
from kubiya_worker.process.verbosity import Verbosity
from kubiya_worker.protocol import names
from kubiya_worker.settings import Settings
from kubiya_worker.workflows import registry

log = structlog.get_logger()

FORCE_AFTER: Final = 1.0  # seconds: one Ctrl-C reaches a process more than once in a terminal
CANCEL_GRACE: Final = 5.0  # seconds that cancelled steps have to end their processes
HEARTBEAT_THROTTLE: Final = timedelta(seconds=2)  # how soon a cancellation is heard, and a dead worker noticed
FORCE_WITHIN: Final = 4.5  # seconds from the second signal to the end, whatever happens
STOP_SLACK: Final = 20.0  # seconds beyond the grace period that a stop may take (cancelled steps, goodbyes)
TAKE_BACK_WITHIN: Final = 2.0  # seconds that a registration under way is waited for when the worker is stopped
CLOSE_WITHIN: Final = 1.0
CACHED_WORKFLOWS: Final = 200  # an instance takes about 100 kB; one that is not cached replays


class Stop:
    """What people and supervisors have asked for, as events on the loop and one for threads.

    The loop may be blocked when it matters most. So a thread keeps the promises about time: a forced stop ends within
    FORCE_WITHIN, any stop within the grace period and STOP_SLACK.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, grace: float) -> None:
        self._loop, self._grace = loop, grace
        self.asked = asyncio.Event()
        self.forced = asyncio.Event()
        self.thread_event = threading.Event()
        self.reason = "shutdown"
        self.last_words: Callable[[], None] | None = None  # said, from the thread, before it ends the process
        self._at = 0.0
        self._times: queue.SimpleQueue[float] = queue.SimpleQueue()  # of signals; its put may be used in a handler

    def install(self) -> None:
        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` asks to outlive the terminal
            numbers.append(signal.SIGHUP)
        for number in numbers:
            self._loop.add_signal_handler(number, self._signalled, number)
            # In place of asyncio's empty handler: this one runs also when the loop is blocked in Python code.
            signal.signal(number, lambda *_: self._times.put(time.monotonic()))
        threading.Thread(target=self._enforce, name="stop", daemon=True).start()

    def _signalled(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if not self.asked.is_set():
            self._at, self.reason = now, number.name
            self.asked.set()
            self.thread_event.set()
        elif now - self._at > FORCE_AFTER:
            self.forced.set()

    def _enforce(self) -> None:
        first = self._times.get()
        deadline = first + self._grace + STOP_SLACK
        forced = False
        while (left := deadline - time.monotonic()) > 0:
            try:
                at = self._times.get(timeout=left)
            except queue.Empty:
                break
            if at - first > FORCE_AFTER and not forced:
                forced, deadline = True, at + FORCE_WITHIN
        self.cut("the event loop did not come to an end in time")

    def cut(self, reason: str) -> NoReturn:
        """Ends this process and what its tools have started; from any thread."""
        log.error("worker.cut", reason=reason)
        _kill_descendants()
        if self.last_words:
            self.last_words()
        leave(EX_TEMPFAIL)


def _kill_descendants() -> None:
    """What tools have started; nothing is left behind."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()


def endpoint_of(settings: Settings, registration: Registration) -> Endpoint:
    """Where models are: the worker's own environment before what the control plane hands out."""
    if settings.litellm_api_base:
        base, key, gateway = settings.litellm_api_base, settings.litellm_api_key or "", True
    elif settings.openai_api_key or settings.openai_base_url:
        base = settings.openai_base_url or "https://api.openai.com/v1"
        key, gateway = settings.openai_api_key or "", False
    else:
        base, key, gateway = registration.litellm_api_url, registration.litellm_api_key, True
    return Endpoint(
        base_url=base,
        api_key=key,
        default_model=settings.default_model,
        override=settings.model_override,
        idle_timeout=settings.model_idle_timeout,
        gateway=gateway,
    )


def build_worker(
    settings: Settings,
    client: Client,
    registration: Registration,
    control_plane: ControlPlane,
    interceptors: Sequence[Interceptor],
) -> tuple[Worker, activities.Runtime]:
    runtime = activities.Runtime(
        control_plane=control_plane,
        temporal=client,
        models=Models(endpoint_of(settings, registration)),
        workspace_root=settings.workspace_root,
        worker_id=registration.worker_id,
        hostname=settings.worker_hostname,
        secrets=(*settings.secrets, *filter(None, (registration.temporal_api_key, registration.litellm_api_key))),
    )
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*registry.SHARED)
    own = activities.build(runtime)
    found = extensions.load(settings.extensions, names.OURS)
    for fault in found.faults:
        log.error("extension.refused", fault=fault)
    if found.modules:
        log.info("extension.loaded", modules=", ".join(found.modules))

    def make(custom: list[type]) -> Worker:
        return Worker(
            client,
            task_queue=registration.task_queue_name,
            workflows=[*registry.WORKFLOWS, *custom],
            activities=[*own, *found.activities],
            activity_executor=ThreadPoolExecutor(settings.max_concurrent_activities, "custom-activity"),
            workflow_runner=SandboxedWorkflowRunner(restrictions=restrictions),
            interceptors=interceptors,
            max_concurrent_activities=settings.max_concurrent_activities,
            max_cached_workflows=CACHED_WORKFLOWS,
            graceful_shutdown_timeout=timedelta(seconds=settings.grace_period),
            max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
            default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        )

    try:
        return make(found.workflows), runtime
    except (RuntimeError, ValueError) as error:
        if not found.workflows:
            raise
        log.error("extension.refused", fault=f"custom workflows cannot be registered: {error}")
        return make([]), runtime


async def run(settings: Settings, control_plane: ControlPlane, recent: Recent, began: float) -> int:
    """From registration to disconnection. Returns the exit code; raises WorkerError for what a person has to mend."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(max_workers=32, thread_name_prefix="io"))
    stop = Stop(loop, settings.grace_period)
    stop.install()
    Verbosity(loop).install()
    parent.watch(lambda: stop.cut("its supervisor is gone"))
    notifier = Notifier()
    notifier.send(f"STATUS=registering with {settings.control_plane_url}")
    registration = await _register(settings, control_plane, stop)
    if registration is None:
        log.info("worker.stopped", reason=stop.reason, registered=False)
        return EX_OK
    log.info(
        "worker.registered",
        queue=registration.queue_name or settings.queue_id,
        worker_id=registration.worker_id,
        seconds=time.monotonic() - began,
    )

    def goodbye(code: int, message: str | None) -> None:
        _disconnect(control_plane, registration.worker_id, stop.reason, code, message)

    stop.last_words = lambda: goodbye(EX_TEMPFAIL, "cut off: the event loop did not come to an end in time")
    code, error_message = EX_OK, None
    try:
        code = await _serve(settings, registration, control_plane, stop, notifier, recent, began)
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
        await asyncio.to_thread(goodbye, code, error_message)
    return code


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


class Condition:
    """What is true of this worker, where it is told: the ready file, NOTIFY_SOCKET, the log, heartbeats."""

    def __init__(
        self, settings: Settings, registration: Registration, pulse: Pulse, notifier: Notifier, began: float
    ) -> None:
        self._file = HealthFile(settings.ready_file, registration.worker_id)
        self._queue = registration.queue_name or settings.queue_id
        self._worker_id, self._pulse, self._notifier, self._began = registration.worker_id, pulse, notifier, began
        self._state = "connecting"
        self._before = False

    def snapshot(self) -> dict[str, Any]:
        """For heartbeats, from another thread."""
        about = {"state": self._state, "polling": self._state == "polling", "stuck": self._pulse.stuck}
        return {**about, **self._pulse.snapshot()}

    def facts(self) -> dict[str, Any]:
        """For the status file: what changes only when something happens."""
        blocked = self._pulse.snapshot()["event_loop_blocked"]
        polling = self._state == "polling" and not blocked
        return {"worker_id": self._worker_id, "state": self._state, "polling": polling, "blocked": blocked}

    def ready(self) -> None:
        self._state, self._pulse.stuck = "polling", False
        self._file.write()
        self._notifier.send("READY=1", f"STATUS=polling queue {self._queue}")
        if self._before:
            log.info("worker.ready_again", queue=self._queue, worker_id=self._worker_id)
        else:
            seconds = time.monotonic() - self._began
            log.info("worker.ready", queue=self._queue, worker_id=self._worker_id, seconds=seconds)
        self._before = True

    def lost(self, reason: str, *, stuck: bool) -> None:
        self._state, self._pulse.stuck = "waiting", stuck
        self._file.remove()
        self._notifier.send(f"STATUS=not ready: {reason}")
        log.warning("worker.not_ready", queue=self._queue, reason=reason)

    def draining(self, tasks: int) -> None:
        self._state = "draining"
        self._file.remove()
        self._notifier.send("STOPPING=1", f"STATUS=draining {tasks} tasks")


async def _serve(
    settings: Settings,
    registration: Registration,
    control_plane: ControlPlane,
    stop: Stop,
    notifier: Notifier,
    recent: Recent,
    began: float,
) -> int:
    """Heartbeats and the pulse go from here on, also while Temporal is away: this worker lives and says how it does."""
    counters = Counters()
    pulse = Pulse(HealthFile(settings.alive_file, registration.worker_id), notifier)
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
    monitor = Monitor(settings, registration, counters, condition.snapshot)
    status = StatusFile(settings.status_file, lambda: {**_tasks(counters), **condition.facts()})
    beating = asyncio.create_task(pulse.run())
    heartbeat.start()
    status.start()
    try:
        return await _work(settings, registration, control_plane, stop, notifier, counters, condition, monitor)
    finally:
        monitor.close()
        beating.cancel()
        await asyncio.wait({beating})
        await asyncio.to_thread(heartbeat.stop)
        await asyncio.to_thread(status.stop)


def _tasks(counters: Counters) -> dict[str, Any]:
    counts = counters.counts()
    return {
        "active_tasks": counts.active,
        "completed_tasks": counts.completed,
        "failed_tasks": counts.failed,
        "current_task": counters.current(),
    }


async def _work(
    settings: Settings,
    registration: Registration,
    control_plane: ControlPlane,
    stop: Stop,
    notifier: Notifier,
    counters: Counters,
    condition: Condition,
    monitor: Monitor,
) -> int:
    identity = f"{registration.worker_id}@{settings.worker_hostname}"
    notifier.send("STATUS=connecting to Temporal")
    connecting = asyncio.create_task(connect(settings, registration, identity, monitor.sdk_port))
    stopping = asyncio.create_task(stop.asked.wait())
    await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not connecting.done():
        connecting.cancel()
        log.info("worker.stopped", reason=stop.reason, connected=False)
        return EX_OK
    client = connecting.result()
    worker, runtime = build_worker(settings, client, registration, control_plane, [counters, monitor.meter])
    running = asyncio.create_task(worker.run())
    watching = asyncio.create_task(
        watch(
            lambda: asyncio.ensure_future(last_polls(client, registration.task_queue_name, identity)),
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
        condition.draining(active)
        if running.done():
            running.result()  # raises what ended it
            raise WorkerError("The Temporal worker ended by itself", remedy="See the log above")
        log.info("worker.draining", reason=stop.reason, active=active, grace=f"{settings.grace_period:g}s")
        return await _drain(worker, running, stop, counters, settings)
    finally:
        watching.cancel()
        with contextlib.suppress(Exception):  # a client that does not close cleanly changes nothing any more
            await asyncio.wait_for(asyncio.gather(runtime.models.close(), runtime.mcp.close()), CLOSE_WITHIN)


async def _drain(
    worker: Worker, running: asyncio.Task[None], stop: Stop, counters: Counters, settings: Settings
) -> int:
    began = time.monotonic()
    shutdown = asyncio.create_task(worker.shutdown())
    forced = asyncio.create_task(stop.forced.wait())
    await asyncio.wait(
        {shutdown, forced}, timeout=settings.grace_period + CANCEL_GRACE, return_when=asyncio.FIRST_COMPLETED
    )
    forced.cancel()
    left = counters.counts().active
    if shutdown.done():
        shutdown.result()
        await asyncio.wait({running}, timeout=CANCEL_GRACE)
        log.info("worker.drained", seconds=time.monotonic() - began)
        return EX_OK
    log.warning("worker.forced", active=left, seconds=time.monotonic() - began)
    return EX_TEMPFAIL
