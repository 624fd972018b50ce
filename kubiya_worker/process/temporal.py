"""This module connects to Temporal: plain text for a local server, else TLS with a key or client certificates."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog
from temporalio.client import Client
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import RPCError, RPCStatusCode

from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.errors import ConfigurationError, NotAllowed
from kubiya_worker.payloads.converter import Payloads
from kubiya_worker.process.backoff import Backoff
from kubiya_worker.settings import Settings
from kubiya_worker.temporal_connection import core_log
from kubiya_worker.temporal_connection.options import arguments, tunnel_to
from kubiya_worker.temporal_connection.security import Tls, TlsOptions, address_of, tls_for

log = structlog.get_logger()

COUNT_WITHIN: Final = timedelta(seconds=2)
REFUSED: Final = {
    RPCStatusCode.UNAUTHENTICATED: NotAllowed,
    RPCStatusCode.PERMISSION_DENIED: NotAllowed,
    RPCStatusCode.NOT_FOUND: ConfigurationError,
    RPCStatusCode.INVALID_ARGUMENT: ConfigurationError,
}


def tls_of(settings: Settings, address: str, registration: Registration) -> Tls | None:
    """Return the TLS of a worker's connection; None means plain text. Raises ConfigurationError as `tls_for` does.

    What the control plane says of its Temporal counts where the worker has no setting, and for that server only.
    """
    assigned = registration if not settings.temporal_host else None
    options = TlsOptions(
        wanted=settings.temporal_tls
        if settings.temporal_tls is not None or assigned is None
        else assigned.temporal_tls,
        ca=settings.temporal_tls_ca,
        cert=settings.temporal_tls_cert,
        key=settings.temporal_tls_key,
        server_name=settings.temporal_tls_server_name
        or (assigned.temporal_tls_server_name if assigned else None)
        or None,
        ca_text=assigned.temporal_tls_ca if assigned and settings.temporal_tls is not False else "",
        bundle=settings.ca_file,
    )
    return tls_for(options, address, registration.temporal_api_key)


def runtime(metrics_port: int | None = None) -> Runtime:
    """Return a runtime that sends the library's log lines to our log; `metrics_port`, if given, serves its metrics."""
    metrics = PrometheusConfig(bind_address=f"127.0.0.1:{metrics_port}") if metrics_port else None
    return Runtime(telemetry=TelemetryConfig(logging=core_log.config(), metrics=metrics))


async def connect(
    settings: Settings,
    registration: Registration,
    identity: str,
    payloads: Payloads,
    metrics_port: int | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Client:
    """Connect to Temporal, and retry without end while nobody answers (`report` gets the reason).

    Raise errors that no further try can correct.
    """
    address = address_of(settings.temporal_host or registration.temporal_host)
    namespace = settings.temporal_namespace or registration.temporal_namespace
    tls = tls_of(settings, address, registration)
    tunnel = tunnel_to(address, tls=bool(tls))
    secured = arguments(tls, tunnel, registration.temporal_api_key)
    core = runtime(metrics_port)
    converter = payloads.converter()
    backoff = Backoff(first=0.2, longest=15.0)
    while True:
        try:
            client = await Client.connect(
                address,
                namespace=namespace,
                identity=identity,
                runtime=core,
                data_converter=converter,
                **secured,
            )
            await _check_namespace(client, namespace)
            return client
        except RPCError as error:
            refused = REFUSED.get(error.status)
            if refused:
                raise refused(
                    f"Temporal at {address} refuses namespace {namespace!r}: {error.message}",
                    remedy="Check the queue's Temporal settings on the control plane",
                ) from error
            reason = error.message
        except RuntimeError as error:  # the SDK's core reports a failed connection as a RuntimeError
            reason = str(error)
        from kubiya_worker.temporal_connection.faults import examine  # only a start that fails needs it

        fault = await asyncio.to_thread(examine, address, tls, tunnel)
        why = fault.message if fault else innermost(reason)
        delay = backoff.next()
        report(f"failed to connect to Temporal at {address}: {why}")
        log.warning(
            "temporal.unreachable",
            address=address,
            tls=bool(tls),
            **({"proxy": tunnel.address} if tunnel else {}),
            error=why,
            retry_in=f"{delay:.1f}s",
            **({"hint": fault.remedy} if fault else {}),
        )
        await asyncio.sleep(delay)


async def _check_namespace(client: Client, namespace: str) -> None:
    from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

    await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))


async def open_executions(client: Client, task_queue: str) -> int | None:
    """Return the number of a queue's open executions without team members, or None when Temporal does not say."""
    query = f"TaskQueue = '{task_queue}' AND ExecutionStatus = 'Running' AND ParentWorkflowId IS NULL"
    try:
        return (await client.count_workflows(query, rpc_timeout=COUNT_WITHIN)).count
    except RPCError as error:
        log.debug("temporal.count_failed", error=error.message)
        return None


def innermost(reason: str) -> str:
    """Return the innermost reason of the library's nested reasons, which says what happened."""
    inner = re.findall(r'(?:message|error): "([^"]+)"', reason)
    return (inner[-1] if inner else reason)[:200]
