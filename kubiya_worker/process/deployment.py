"""This module makes a worker one version of a Temporal worker deployment (Worker Versioning), and manages versions.

A version gets executions when the deployment's routing names it (current or ramping), not when its workers start.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import structlog
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import RoutingConfigUpdateState, WorkerDeploymentVersionStatus
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    DescribeWorkerDeploymentResponse,
    SetWorkerDeploymentCurrentVersionRequest,
    SetWorkerDeploymentRampingVersionRequest,
    UpdateWorkflowExecutionOptionsRequest,
)
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig

from kubiya_worker import __version__
from kubiya_worker.errors import ConfigurationError, TemporaryFailure
from kubiya_worker.settings import Settings

log = structlog.get_logger()

BEHAVIORS: Final = {"pinned": VersioningBehavior.PINNED, "auto-upgrade": VersioningBehavior.AUTO_UPGRADE}
STATUSES: Final = {
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_INACTIVE: "inactive",
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT: "current",
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_RAMPING: "ramping",
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING: "draining",
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED: "drained",
}
UNVERSIONED: Final[dict[str, Any]] = {"build_id": f"kubiya-worker-{__version__}"}
KNOWN_EVERY: Final = 0.5  # seconds between tries while Temporal does not know a version yet
ROUTED_EVERY: Final = 0.1  # seconds between questions whether all partitions have the new routing
IDENTITY: Final = "kubiya-deployment"
NOT_YET: Final = (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION)

T = TypeVar("T")


def version_of(settings: Settings) -> WorkerDeploymentVersion | None:
    """Return this worker's version, or None when versioning is off."""
    if not settings.deployment_name:
        return None
    return WorkerDeploymentVersion(settings.deployment_name, settings.build_id or __version__)


def told(settings: Settings) -> dict[str, str]:
    """Return this worker's version for heartbeats; empty when versioning is off."""
    version = version_of(settings)
    return {"deployment": version.deployment_name, "build_id": version.build_id} if version else {}


def options(settings: Settings) -> dict[str, Any]:
    """Return the versioning options for the library's Worker.

    Without versioning it still gets a build id: otherwise the library computes one from the bytecode of every loaded
    module, which takes as long as the worker's imports.
    """
    version = version_of(settings)
    if version is None:
        return UNVERSIONED
    behavior = BEHAVIORS[settings.versioning_behavior]
    return {"deployment_config": WorkerDeploymentConfig(version, True, behavior)}


async def log_version(client: Client, settings: Settings) -> None:
    """Log which version this worker is, and what to do when new executions do not go to it."""
    version = version_of(settings)
    if version is None:
        return
    try:
        current_build = await current(client, version.deployment_name)
    except RPCError as error:
        log.warning("deployment.unknown", deployment=version.deployment_name, error=error.message)
        return
    fields = {"deployment": version.deployment_name, "build": version.build_id, "current": current_build or "none"}
    hint = (
        {}
        if current_build == version.build_id
        else {"hint": f"kubiya worker deployment set-current {version.build_id}"}
    )
    log.info("worker.version", **fields, behavior=settings.versioning_behavior, **hint)


@dataclass(frozen=True)
class Version:
    """A version of a deployment.

    `status` is inactive, current, ramping, draining or drained. `percent` is its share of new executions while it
    ramps. `executions` counts the open ones that are pinned to it or were last worked on by it.
    """

    build_id: str
    status: str
    percent: float | None
    executions: int | None


async def describe(client: Client, name: str) -> DescribeWorkerDeploymentResponse:
    """Return the deployment; raise ConfigurationError when Temporal does not know it."""
    request = DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=name)
    try:
        return await client.workflow_service.describe_worker_deployment(request)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        raise ConfigurationError(
            f"Temporal knows no worker deployment {name!r} in namespace {client.namespace!r}",
            remedy=f"Start a worker with TEMPORAL_DEPLOYMENT_NAME={name} first",
        ) from error


async def current(client: Client, name: str) -> str | None:
    """Return the build that gets new executions, or None when they go to workers without a version."""
    try:
        info = (await describe(client, name)).worker_deployment_info
    except ConfigurationError:
        return None
    return info.routing_config.current_deployment_version.build_id or None


async def versions(client: Client, name: str) -> list[Version]:
    """Return the deployment's versions, newest first."""
    info = (await describe(client, name)).worker_deployment_info
    routing = info.routing_config
    ramping = routing.ramping_deployment_version.build_id
    summaries = sorted(info.version_summaries, key=lambda v: v.create_time.ToNanoseconds(), reverse=True)
    return [
        Version(
            build := summary.deployment_version.build_id,
            STATUSES.get(summary.status, "unknown"),
            routing.ramping_version_percentage if build == ramping else None,
            await _open(client, name, build),
        )
        for summary in summaries
    ]


def of_version(name: str, build: str) -> str:
    """Return the part of a visibility query that selects a version's executions."""
    return f"TemporalWorkerDeploymentVersion = '{name}:{build}'"


async def _open(client: Client, name: str, build: str) -> int | None:
    try:
        return (await client.count_workflows(f"ExecutionStatus = 'Running' AND {of_version(name, build)}")).count
    except RPCError:
        return None  # a visibility store that has no such attribute


async def set_current(client: Client, name: str, build: str, *, within: float, idle: bool = False) -> str | None:
    """Send new executions, and those that may move, to this build; return the build that was current before.

    A version is known once its first worker has polled. Wait up to `within` seconds for that, then raise
    TemporaryFailure. `idle` allows a version that has no polling worker.
    """
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.namespace,
        deployment_name=name,
        build_id=build,
        identity=IDENTITY,
        allow_no_pollers=idle,
        ignore_missing_task_queues=idle,
    )
    call = client.workflow_service.set_worker_deployment_current_version
    before = await current(client, name)  # the answer to a repeated request names this build itself
    await _until_known(lambda: call(request), build, within)
    await _until_routed(client, name, within)
    return before


async def ramp(client: Client, name: str, build: str, percent: float, *, within: float) -> None:
    """Send `percent` of new executions to this build; 0 ends the ramp. Raise the errors of `set_current`."""
    request = SetWorkerDeploymentRampingVersionRequest(
        namespace=client.namespace,
        deployment_name=name,
        build_id=build if percent else "",
        percentage=percent,
        identity=IDENTITY,
    )
    call = client.workflow_service.set_worker_deployment_ramping_version
    await _until_known(lambda: call(request), build, within)
    await _until_routed(client, name, within)


async def release(client: Client, workflow_id: str) -> bool:
    """Move an execution to the current version from its next task on, whatever its behavior.

    Return False if the execution has ended.
    """
    request = UpdateWorkflowExecutionOptionsRequest(
        namespace=client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=workflow_id),
        workflow_execution_options=WorkflowExecutionOptions(versioning_override=VersioningOverride(auto_upgrade=True)),
        update_mask=FieldMask(paths=["versioning_override"]),
        identity=IDENTITY,
    )
    try:
        await client.workflow_service.update_workflow_execution_options(request)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return False
        raise
    return True


async def _until_routed(client: Client, name: str, timeout: float) -> None:
    """Wait until every partition of the queues knows the new routing, at most `timeout` seconds.

    Servers before 1.30 do not report this state, and there is no wait.
    """
    deadline = time.monotonic() + timeout
    while True:
        state = (await describe(client, name)).worker_deployment_info.routing_config_update_state
        if state != RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_IN_PROGRESS or time.monotonic() >= deadline:
            return
        await asyncio.sleep(ROUTED_EVERY)


async def _until_known(call: Callable[[], Awaitable[T]], build: str, timeout: float) -> T:
    deadline = time.monotonic() + timeout
    while True:
        try:
            return await call()
        except RPCError as error:
            if error.status not in NOT_YET:
                raise
            if time.monotonic() >= deadline:
                raise TemporaryFailure(
                    f"Version {build!r} cannot take executions: {error.message}",
                    remedy="Start its workers first, and see that they are ready",
                ) from error
        await asyncio.sleep(KNOWN_EVERY)
