"""This module connects to Temporal: plain text for a local server, else TLS with a key or client certificates."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import structlog
from temporalio.client import Client, TLSConfig
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

log = structlog.get_logger()

PORT: Final = 7233
PROXY_PORT: Final = 3128
COUNT_WITHIN: Final = timedelta(seconds=2)
LOCAL_NAMES: Final = ("localhost", "temporal", "host.docker.internal")  # docs/protocol.md#b1
REFUSED: Final = {
    RPCStatusCode.UNAUTHENTICATED: NotAllowed,
    RPCStatusCode.PERMISSION_DENIED: NotAllowed,
    RPCStatusCode.NOT_FOUND: ConfigurationError,
    RPCStatusCode.INVALID_ARGUMENT: ConfigurationError,
}


def address_of(text: str) -> str:
    """Return `host:port`, with Temporal's port when none is given; raise ConfigurationError when the text is no
    address.
    """
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.path or parts.query or "@" in text:
        raise ConfigurationError(
            f"The Temporal address {text!r} is not host:port",
            remedy="Check TEMPORAL_HOST, or the control plane's reply",
        )
    return f"{f'[{host}]' if ':' in host else host}:{port or PORT}"


def is_local(address: str) -> bool:
    """Return whether an address is of this machine or its containers."""
    host = urlsplit(f"//{address}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOCAL_NAMES


def tls_of(settings: Settings, address: str, api_key: str) -> TLSConfig | bool:
    """Return the TLS settings; False means plain text, for a local server without a key or with TEMPORAL_TLS=false.

    Raise ConfigurationError for files that cannot be read and for settings that contradict each other.
    """
    tls_files = (settings.temporal_tls_ca, settings.temporal_tls_cert, settings.temporal_tls_key)
    ca = settings.temporal_tls_ca or settings.ca_file
    use_tls = settings.temporal_tls
    if use_tls is False:
        if any(tls_files):
            raise ConfigurationError("TEMPORAL_TLS is false, and certificates are given", remedy="Unset one of them")
        if api_key and not is_local(address):
            raise ConfigurationError(
                f"The key for Temporal at {address} would travel without TLS", remedy="Unset TEMPORAL_TLS"
            )
        return False
    if bool(settings.temporal_tls_cert) != bool(settings.temporal_tls_key):
        raise ConfigurationError(
            "A client certificate needs its key and the other way round",
            remedy="Set both TEMPORAL_TLS_CERT and TEMPORAL_TLS_KEY",
        )
    if not any(tls_files) and not (use_tls or not is_local(address)):
        return False
    if not any(tls_files) and not ca:
        return True
    try:
        roots, cert, key = (Path(f).expanduser().read_bytes() if f else None for f in (ca, *tls_files[1:]))
    except OSError as error:
        raise ConfigurationError(f"A TLS file cannot be read: {error}", remedy="Check TEMPORAL_TLS_*") from error
    return TLSConfig(server_root_ca_cert=roots, client_cert=cert, client_private_key=key)


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
                tls=tls,
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
        delay = backoff.next()
        report(f"failed to connect to Temporal at {address}: {innermost(reason)}")
        certain = key or settings.temporal_tls_ca or settings.temporal_tls_cert
        hint = {"hint": "a server without TLS needs TEMPORAL_TLS=false"} if tls and not certain else {}
        log.warning(
            "temporal.unreachable",
            address=address,
            tls=bool(tls),
            **({"proxy": proxy.target_host} if proxy else {}),
            error=innermost(reason),
            retry_in=f"{delay:.1f}s",
            **hint,
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
