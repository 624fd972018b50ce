"""Turn address, TLS, proxy and key of a connection into the arguments of the SDK's `Client.connect`."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote, urlsplit

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.proxies import proxy_for
from kubiya_worker.temporal_connection.faults import Tunnel
from kubiya_worker.temporal_connection.security import Tls, is_local

PROXY_PORT: Final = 3128


def tunnel_to(address: str, *, tls: bool) -> Tunnel | None:
    """Return the proxy of HTTPS_PROXY (HTTP_PROXY without TLS), or None when the address is local or in NO_PROXY.

    Raise ConfigurationError for a proxy that cannot carry the connection.
    """
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
    return Tunnel(f"{parts.hostname}:{parts.port or PROXY_PORT}", user)


def arguments(tls: Tls | None, tunnel: Tunnel | None, api_key: str) -> dict[str, Any]:
    """Return the arguments that secure a client. A key travels in TLS only."""
    from temporalio.service import HttpConnectProxyConfig  # imported here: it takes long to load

    return {
        "tls": tls.config() if tls else False,
        "api_key": api_key if tls and api_key else None,
        "http_connect_proxy_config": HttpConnectProxyConfig(tunnel.address, tunnel.login) if tunnel else None,
    }
