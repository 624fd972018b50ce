"""This module connects to Temporal: plain text for a local server, else TLS with a key or client certificates."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Final
from urllib.parse import unquote, urlsplit

import structlog
from temporalio.client import Client
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.service import HttpConnectProxyConfig, RPCError, RPCStatusCode

from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.errors import ConfigurationError, NotAllowed
from kubiya_worker.payloads.converter import Payloads
from kubiya_worker.process.backoff import Backoff
from kubiya_worker.process.logging import CORE
from kubiya_worker.proxies import proxy_for
from kubiya_worker.settings import Settings
from kubiya_worker.temporal_connection.faults import Fault, Tunnel, examine
from kubiya_worker.temporal_connection.security import Tls, TlsOptions, address_of, is_local, tls_for

log = structlog.get_logger()

PROXY_PORT: Final = 3128
COUNT_WITHIN: Final = timedelta(seconds=2)
REFUSED: Final = {
    RPCStatusCode.UNAUTHENTICATED: NotAllowed,
    RPCStatusCode.PERMISSION_DENIED: NotAllowed,
    RPCStatusCode.NOT_FOUND: ConfigurationError,
    RPCStatusCode.INVALID_ARGUMENT: ConfigurationError,
}


def tls_of(settings: Settings, address: str, api_key: str) -> Tls | None:
    """Return the TLS of a worker's connection; None means plain text. Raises ConfigurationError as `tls_for` does."""
    options = TlsOptions(
        wanted=settings.temporal_tls,
        ca=settings.temporal_tls_ca,
        cert=settings.temporal_tls_cert,
        key=settings.temporal_tls_key,
        server_name=settings.temporal_tls_server_name,
        bundle=settings.ca_file,
    )
    return tls_for(options, address, api_key)


def proxy_of(address: str, *, tls: bool) -> HttpConnectProxyConfig | None:
    """Return the proxy of HTTPS_PROXY (HTTP_PROXY without TLS), or None when the address is local or in NO_PROXY."""
    scheme = "https" if tls else "http"
    proxy = None if is_local(address) else proxy_for(f"{scheme}://{address}")
    if not proxy:
        return None
    parts = urlsplit(proxy)
    if parts.scheme != "http":
        raise ConfigurationError(
            f"The proxy {parts.scheme}://{parts.hostname or ''} cannot carry the connection to Temporal",
            remedy=f"Set {scheme.upper()}_PROXY to an http:// proxy, or list {address} in NO_PROXY",
        )
    user = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return HttpConnectProxyConfig(target_host=f"{parts.hostname}:{parts.port or PROXY_PORT}", basic_auth=user)


def runtime(metrics_port: int | None = None) -> Runtime:
    """Return a runtime that sends the library's log lines to our log, and serves its metrics on `metrics_port`
    if given.
    """
    forwarding = LogForwardingConfig(
        logger=logging.getLogger(CORE), append_target_to_name=False, prepend_target_on_message=False
    )
    telemetry = TelemetryFilter(core_level="WARN", other_level="ERROR")
    metrics = PrometheusConfig(bind_address=f"127.0.0.1:{metrics_port}") if metrics_port else None
    logs = LoggingConfig(filter=telemetry, forwarding=forwarding)
    return Runtime(telemetry=TelemetryConfig(logging=logs, metrics=metrics))


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
    key = registration.temporal_api_key
    tls = tls_of(settings, address, key)
    proxy = proxy_of(address, tls=bool(tls))
    core = runtime(metrics_port)
    converter = payloads.converter()
    backoff = Backoff(first=0.2, longest=15.0)
    while True:
        try:
            client = await Client.connect(
                address,
                namespace=namespace,
                tls=tls.config() if tls else False,
                api_key=key if tls and key else None,
                identity=identity,
                runtime=core,
                http_connect_proxy_config=proxy,
                data_converter=converter,
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
        fault = await asyncio.to_thread(fault_of, address, tls, proxy)
        why = fault.message if fault else innermost(reason)
        delay = backoff.next()
        report(f"failed to connect to Temporal at {address}: {why}")
        log.warning(
            "temporal.unreachable",
            address=address,
            tls=bool(tls),
            **({"proxy": proxy.target_host} if proxy else {}),
            error=why,
            retry_in=f"{delay:.1f}s",
            **({"hint": fault.remedy} if fault else {}),
        )
        await asyncio.sleep(delay)


def fault_of(address: str, tls: Tls | None, proxy: HttpConnectProxyConfig | None) -> Fault | None:
    """Return what is wrong with a connection that failed, or None when it works by now. It takes up to some seconds."""
    return examine(address, tls, Tunnel(proxy.target_host, proxy.basic_auth) if proxy else None)


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
