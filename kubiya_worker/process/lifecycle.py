"""The life of a worker: register, connect, poll, be ready, drain, disconnect.

Signals only set events. SIGTERM or SIGINT drains: polling stops, running steps have the grace period to finish. A
second signal more than 1 s later forces: what runs is cut off (and taken up by another worker), the exit code is 75.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final

import structlog
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from kubiya_worker import activities, workflows
from kubiya_worker.control_plane.client import ControlPlane, Registration
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.errors import EX_OK, EX_TEMPFAIL, WorkerError
from kubiya_worker.models import Endpoint, Models
from kubiya_worker.process.counters import Counters
from kubiya_worker.process.health import HealthFile, Pulse
from kubiya_worker.process.heartbeat import Heartbeat
from kubiya_worker.process.notify import Notifier
from kubiya_worker.process.registration import Stopped, register
from kubiya_worker.process.temporal import connect, is_polling
from kubiya_worker.settings import Settings

log = structlog.get_logger()

FORCE_AFTER: Final = 1.0  # seconds: one Ctrl-C reaches a process more than once in a terminal
CANCEL_GRACE: Final = 5.0  # seconds that cancelled steps have to end their processes
HEARTBEAT_THROTTLE: Final = timedelta(seconds=2)  # how soon a cancellation is heard, and a dead worker noticed
POLL_CHECK_EVERY: Final = 0.02
CACHED_WORKFLOWS: Final = 200  # an instance takes about 100 kB; one that is not cached replays


class Stop:
    """What people and supervisors have asked for, as events on the loop and one for threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.asked = asyncio.Event()
        self.forced = asyncio.Event()
        self.thread_event = threading.Event()
        self.reason = "shutdown"
        self._at = 0.0

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if not self.asked.is_set():
            self._at, self.reason = now, number.name
            self.asked.set()
            self.thread_event.set()
        elif now - self._at > FORCE_AFTER:
            self.forced.set()


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
    settings: Settings, client: Client, registration: Registration, control_plane: ControlPlane
) -> tuple[Worker, Counters, activities.Runtime]:
    counters = Counters()
    runtime = activities.Runtime(
        control_plane=control_plane,
        temporal=client,
        models=Models(endpoint_of(settings, registration)),
        workspace_root=settings.workspace_root,
        worker_id=registration.worker_id,
        hostname=settings.worker_hostname,
        secrets=(*settings.secrets, *filter(None, (registration.temporal_api_key, registration.litellm_api_key))),
    )
    restrictions = SandboxRestrictions.default.with_passthrough_modules("kubiya_worker.protocol")
    worker = Worker(
        client,
        task_queue=registration.task_queue_name,
        workflows=workflows.WORKFLOWS,
        activities=activities.build(runtime),
        workflow_runner=SandboxedWorkflowRunner(restrictions=restrictions),
        interceptors=[counters],
        max_concurrent_activities=settings.max_concurrent_activities,
        max_cached_workflows=CACHED_WORKFLOWS,
        graceful_shutdown_timeout=timedelta(seconds=settings.grace_period),
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
    )
    return worker, counters, runtime


async def run(settings: Settings, control_plane: ControlPlane, began: float) -> int:
    """From registration to disconnection. Returns the exit code; raises WorkerError for what a person has to mend."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(max_workers=32, thread_name_prefix="io"))
    stop = Stop(loop)
    stop.install()
    notifier = Notifier()
    try:
        registration = await asyncio.to_thread(register, settings, control_plane, stop.thread_event)
    except Stopped:
        return EX_OK
    log.info(
        "worker.registered",
        queue=registration.queue_name or settings.queue_id,
        worker_id=registration.worker_id,
        seconds=time.monotonic() - began,
    )
    code, error_message = EX_OK, None
    try:
        code = await _serve(settings, registration, control_plane, stop, notifier, began)
    except WorkerError as error:
        code, error_message = error.exit_code, error.line()
        raise
    except BaseException as error:
        code, error_message = 70, f"{type(error).__name__}: {error}"
        raise
    finally:
        notifier.send("STOPPING=1")
        await asyncio.to_thread(_disconnect, control_plane, registration.worker_id, stop.reason, code, error_message)
    return code


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
    stop: Stop,
    notifier: Notifier,
    began: float,
) -> int:
    identity = f"{registration.worker_id}@{settings.worker_hostname}"
    connecting = asyncio.create_task(connect(settings, registration, identity))
    stopping = asyncio.create_task(stop.asked.wait())
    await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not connecting.done():
        connecting.cancel()
        return EX_OK
    client = connecting.result()
    worker, counters, runtime = build_worker(settings, client, registration, control_plane)
    alive, ready = (HealthFile(path, registration.worker_id) for path in (settings.alive_file, settings.ready_file))
    pulse = Pulse(alive, notifier)
    heartbeat = Heartbeat(
        control_plane,
        registration.worker_id,
        counters,
        interval=settings.heartbeat_interval,
        hostname=settings.worker_hostname,
        health=pulse.snapshot,
    )
    beating = asyncio.create_task(pulse.run())
    running = asyncio.create_task(worker.run())
    heartbeat.start()
    announcing = asyncio.create_task(_announce(client, registration, identity, ready, notifier, settings, began))
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        ready.remove()
        announcing.cancel()
        if running.done():
            running.result()  # raises what ended it
            raise WorkerError("The Temporal worker ended by itself", remedy="See the log above")
        return await _drain(worker, running, stop, notifier, counters, settings)
    finally:
        announcing.cancel()
        beating.cancel()
        heartbeat.stop()
        ready.remove()
        alive.remove()
        with contextlib.suppress(Exception):  # a client that does not close cleanly changes nothing any more
            await runtime.models.close()


async def _announce(
    client: Client,
    registration: Registration,
    identity: str,
    ready: HealthFile,
    notifier: Notifier,
    settings: Settings,
    began: float,
) -> None:
    """Ready is what Temporal says: this worker polls."""
    while True:
        try:
            if await is_polling(client, registration.task_queue_name, identity):
                break
        except RPCError as error:
            log.warning("temporal.describe_failed", error=error.message)
        await asyncio.sleep(POLL_CHECK_EVERY)
    ready.write()
    queue = registration.queue_name or settings.queue_id
    notifier.send("READY=1", f"STATUS=polling queue {queue}")
    log.info("worker.ready", queue=queue, worker_id=registration.worker_id, seconds=time.monotonic() - began)


async def _drain(
    worker: Worker, running: asyncio.Task[None], stop: Stop, notifier: Notifier, counters: Counters, settings: Settings
) -> int:
    active = counters.counts().active
    notifier.send("STOPPING=1", f"STATUS=draining {active} tasks")
    log.info("worker.draining", reason=stop.reason, active=active, grace=f"{settings.grace_period:g}s")
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
