"""This module builds the Temporal worker from its parts: workflows, activities, models, tools, limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final

import structlog
from temporalio.client import Client
from temporalio.converter import StorageDriverStoreContext
from temporalio.service import __version__ as sdk
from temporalio.worker import (
    Interceptor,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowRunner,
)
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import Info

from kubiya_worker import extension_loading
from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.process import deployment
from kubiya_worker.process.dispatch import dispatch_side_by_side
from kubiya_worker.process.late_steps import LateSteps, activity_name
from kubiya_worker.process.worker_pair import WorkerPair, model_queue
from kubiya_worker.process.workflow_threads import WorkflowThreads
from kubiya_worker.protocol import names
from kubiya_worker.settings import Settings
from kubiya_worker.workflows import registry

log = structlog.get_logger()

Activities = Sequence[Callable[..., Any]]

# The library demands a limit, but a drain has none. At the end of a stop's grace period grace_expiry.py cancels what
# still runs.
UNLIMITED: Final = timedelta(days=365)
# The longest delay before a cancellation reaches a step, or a dead worker is noticed.
HEARTBEAT_THROTTLE: Final = timedelta(seconds=2)
STICKY_TIMEOUT: Final = timedelta(seconds=5)  # how long a task waits for the worker that has the execution in memory
SLOTS_OF_A_POLL: Final = 25  # a poll fills one in a round trip to Temporal, some 50 ms where that is far away
MODEL_POLLS: Final = 2  # at a time; each costs a connection's stream, and the queue is used only when tools hold all
HOST_SLOTS: Final = 20  # of calls about what this host has; each is short
HOST_POLLS: Final = 2
CACHED_WORKFLOWS: Final = 200  # an instance takes about 100 kB; one that is not cached replays
SDK_OF_WALKS: Final = "1.35."  # the SDK whose inner functions payloads/walks.py was written for
TASK_LIMIT: Final = 30  # seconds; a worker that really hangs is noticed after 60 (health), and restarted after 90


def build_worker(
    settings: Settings,
    client: Client,
    registration: Registration,
    steps: LateSteps,
    interceptors: Sequence[Interceptor],
) -> WorkerPair:
    """Build the Temporal workers. Their steps are loaded after the first poll."""
    activities, queue = steps.declared(), registration.task_queue_name
    loaded = extension_loading.load(settings.extensions, names.OURS)
    for fault in loaded.faults:
        log.error("extension.refused", fault=fault)
    if loaded.modules:
        log.info("extension.loaded", modules=", ".join(loaded.modules))

    leave_out_idle_walks()
    common: dict[str, Any] = {
        "interceptors": [steps, *interceptors],
        "graceful_shutdown_timeout": UNLIMITED,
        "max_heartbeat_throttle_interval": HEARTBEAT_THROTTLE,
        "default_heartbeat_throttle_interval": HEARTBEAT_THROTTLE,
    }
    unversioned, versioned = {**common, **deployment.UNVERSIONED}, {**common, **deployment.options(settings)}

    def make(custom: list[type]) -> WorkerPair:
        worker = Worker(
            client,
            task_queue=queue,
            workflows=[*registry.WORKFLOWS, *custom],
            activities=[*activities, *loaded.activities],
            activity_executor=ThreadPoolExecutor(settings.max_concurrent_activities, "custom-activity"),
            workflow_runner=WorkflowSandbox(),
            workflow_task_executor=WorkflowThreads(is_own, steps.expect),
            max_concurrent_activities=settings.max_concurrent_activities,
            max_concurrent_activity_task_polls=polls_for(settings.max_concurrent_activities),
            max_cached_workflows=CACHED_WORKFLOWS,
            sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
            **versioned,
        )
        allow_long_tasks(worker)
        dispatch_side_by_side(worker)
        model_worker = _model_worker(client, queue, activities, settings.model_slots, versioned)
        # Without a version: a run that is pinned to an older one must still reach its command after an upgrade.
        return WorkerPair(worker, model_worker, lambda host: _host_worker(client, host, activities, unversioned))

    try:
        return make(loaded.workflows)
    except (RuntimeError, ValueError) as error:
        if not loaded.workflows:
            raise
        log.error("extension.refused", fault=f"custom workflows cannot be registered: {error}")
        return make([])


def polls_for(slots: int) -> int:
    """Return how many polls for steps are open at once.

    Each holds a slot, which a step that Temporal would hand over with a workflow's task (an eager start) then does not
    find: it waits for a poll, and costs Temporal two requests more.
    """
    return max(2, slots // SLOTS_OF_A_POLL)


def _model_worker(
    client: Client, queue: str, activities: Activities, slots: int, options: dict[str, Any]
) -> Worker | None:
    """Return the worker of model calls for when tools hold all slots of the queue; None without slots for it."""
    if not slots:
        return None
    return Worker(
        client,
        task_queue=model_queue(queue),
        activities=[activity for activity in activities if activity_name(activity) in names.MODEL_ACTIVITIES],
        max_concurrent_activities=slots,
        max_concurrent_activity_task_polls=MODEL_POLLS,
        **options,
    )


def _host_worker(client: Client, queue: str, activities: Activities, options: dict[str, Any]) -> Worker:
    """Return the worker of calls about what only this host has."""
    return Worker(
        client,
        task_queue=queue,
        activities=[activity for activity in activities if activity_name(activity) in names.HOST_ACTIVITIES],
        max_concurrent_activities=HOST_SLOTS,
        max_concurrent_activity_task_polls=HOST_POLLS,
        **options,
    )


def leave_out_idle_walks() -> None:
    """Leave walks through payloads out (payloads/walks.py); another SDK keeps its own, which are slower and right."""
    if not sdk.startswith(SDK_OF_WALKS):
        log.info("payloads.walked", sdk=sdk)
        return
    from kubiya_worker.payloads import walks  # it imports names that are private to the SDK

    walks.leave_out_idle_walks()


def allow_long_tasks(worker: Worker) -> None:
    """Give a workflow task TASK_LIMIT seconds before the SDK reports a deadlock and fails it.

    The SDK's own limit of 2 s counts time, not work: on a host without a free core a run that packs a long
    conversation exceeds it at each attempt, and never gets further. The SDK has no option for the limit, so its
    attribute is set; a test says when a version of the SDK has it no more.
    """
    tasks = worker._workflow_worker
    if tasks is not None and hasattr(tasks, "_deadlock_timeout_seconds"):
        tasks._deadlock_timeout_seconds = TASK_LIMIT


class WorkflowSandbox(WorkflowRunner):
    """Run the workflows of extensions in Temporal's sandbox, which loads their modules for each run.

    Our own workflows run outside of it, because the sandbox compiles a snippet for each activation, and does not watch
    the modules that all runs share. tests/replay runs our workflows in the sandbox, so that it still checks them.
    `contexts` says whether the client's data converter reads serialization or storage contexts.
    """

    def __init__(self, *, contexts: bool = False) -> None:
        restrictions = SandboxRestrictions.default.with_passthrough_modules(*registry.SHARED)
        self._sandbox = SandboxedWorkflowRunner(restrictions=restrictions)
        self._unsandboxed = UnsandboxedWorkflowRunner()
        self._contexts = contexts

    def prepare_workflow(self, defn: Any) -> None:
        self._runner_of(defn).prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        runner = self._runner_of(det.defn)
        instance = runner.create_instance(det)
        return instance if self._contexts else _WithoutContexts(instance, own=runner is self._unsandboxed)

    def set_worker_level_failure_exception_types(self, types: Sequence[type[BaseException]]) -> None:
        for runner in (self._sandbox, self._unsandboxed):
            runner.set_worker_level_failure_exception_types(types)

    def _runner_of(self, defn: Any) -> WorkflowRunner:
        return self._unsandboxed if defn.cls in registry.WORKFLOWS else self._sandbox


def is_own(instance: WorkflowInstance) -> bool:
    """Return True for a run of one of our own workflows, False for one of an extension."""
    return isinstance(instance, _WithoutContexts) and instance.own


class _WithoutContexts(WorkflowInstance):
    def __init__(self, instance: WorkflowInstance, *, own: bool) -> None:
        self._instance, self.own = instance, own
        self._nowhere = StorageDriverStoreContext(target=None)

    def activate(self, act: Any) -> Any:
        return self._instance.activate(act)

    def get_serialization_context(self, command_info: Any) -> None:
        return None

    def get_external_store_context(self, command_info: Any) -> StorageDriverStoreContext:
        return self._nowhere

    def get_info(self) -> Info:
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        return self._instance.get_thread_id()
