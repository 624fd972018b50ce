"""The connection to Temporal: plain for a local server, TLS with a key or client certificates otherwise."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import structlog
from temporalio.client import Client, TLSConfig
from temporalio.service import RPCError, RPCStatusCode

from kubiya_worker.control_plane.client import Registration
from kubiya_worker.errors import ConfigurationError, NotAllowed
from kubiya_worker.process.backoff import Backoff
from kubiya_worker.settings import Settings

log = structlog.get_logger()

LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "::1", "[::1]", "temporal", "host.docker.internal")
REFUSED: Final = {
    RPCStatusCode.UNAUTHENTICATED: NotAllowed,
    RPCStatusCode.PERMISSION_DENIED: NotAllowed,
    RPCStatusCode.NOT_FOUND: ConfigurationError,
    RPCStatusCode.INVALID_ARGUMENT: ConfigurationError,
}


def is_plain(address: str, api_key: str) -> bool:
    """Whether a connection goes without TLS (PROTOCOL B.1): no key, or a server on this machine."""
    return not api_key or address.rpartition(":")[0] in LOCAL_HOSTS


def tls_of(settings: Settings, address: str, api_key: str) -> TLSConfig | bool:
    files = (settings.temporal_tls_ca, settings.temporal_tls_cert, settings.temporal_tls_key)
    if not any(files):
        return not is_plain(address, api_key)
    try:
        ca, cert, key = (Path(f).expanduser().read_bytes() if f else None for f in files)
    except OSError as error:
        raise ConfigurationError(f"A TLS file cannot be read: {error}", remedy="Check TEMPORAL_TLS_*") from error
    return TLSConfig(server_root_ca_cert=ca, client_cert=cert, client_private_key=key)


async def connect(settings: Settings, registration: Registration, identity: str) -> Client:
    """Connected, or tried for ever while nobody answers. Raises for what another try does not mend."""
    address = settings.temporal_host or registration.temporal_host
    namespace = settings.temporal_namespace or registration.temporal_namespace
    key = registration.temporal_api_key
    tls = tls_of(settings, address, key)
    backoff = Backoff(first=0.2, longest=15.0)
    while True:
        try:
            client = await Client.connect(
                address, namespace=namespace, tls=tls, api_key=key if tls and key else None, identity=identity
            )
            await _check_namespace(client, namespace, address)
            return client
        except RPCError as error:
            refused = REFUSED.get(error.status)
            if refused:
                raise refused(
                    f"Temporal at {address} refuses namespace {namespace!r}: {error.message}",
                    remedy="Check the queue's Temporal settings on the control plane",
                ) from error
            reason = error.message
        except RuntimeError as error:  # the SDK's core reports a failed connection this way
            reason = str(error)
        delay = backoff.next()
        log.warning("temporal.unreachable", address=address, error=reason[:200], retry_in=f"{delay:.1f}s")
        await asyncio.sleep(delay)


async def _check_namespace(client: Client, namespace: str, address: str) -> None:
    from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

    await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))


async def is_polling(client: Client, task_queue: str, identity: str) -> bool:
    """Whether Temporal sees this worker ask for workflow tasks and for activity tasks."""
    from temporalio.api.enums.v1 import TaskQueueType
    from temporalio.api.taskqueue.v1 import TaskQueue
    from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

    kinds = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
    for kind in kinds:
        request = DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=task_queue), task_queue_type=kind
        )
        answer = await client.workflow_service.describe_task_queue(request)
        if not any(poller.identity == identity for poller in answer.pollers):
            return False
    return True
