"""The proxy that the environment names for an address: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, unless NO_PROXY has it.

`proxy:3128`, without a scheme, is meant as curl and httpx mean it; requests takes `proxy` for the scheme.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import Final
from urllib.parse import urlsplit

from kubiya_worker.errors import ConfigurationError

SCHEMES: Final = ("http", "https")
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")


def spare_loopback(environ: MutableMapping[str, str]) -> None:
    """Keep all clients of this process from using a proxy for this machine's own addresses, if a proxy is set."""
    if not any(environ.get(name) or environ.get(name.upper()) for name in PROXIES):
        return
    exceptions = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    listed = [name.strip() for name in exceptions.split(",") if name.strip()]
    if "*" in listed:
        return
    spared = ",".join(dict.fromkeys((*listed, *LOOPBACK)))
    environ.update({"no_proxy": spared, "NO_PROXY": spared})


def proxy_for(url: str) -> str | None:
    """Return the proxy for a URL with its scheme, user and password; None without one. Raises ConfigurationError."""
    if sys.platform != "darwin" and not _names_any(os.environ):  # macOS has settings of its own, too
        return None
    from requests.utils import get_environ_proxies, select_proxy  # slow to import, and not needed by every start

    proxy = select_proxy(url, get_environ_proxies(url))
    return _normal(proxy, url) if proxy else None


def _names_any(environ: Mapping[str, str]) -> bool:
    """Return whether a variable may name a proxy, in any case of letters, as Python looks for it."""
    return any(value and name.lower().endswith("_proxy") for name, value in environ.items())


def _normal(given: str, url: str) -> str:
    """Return a proxy as a URL; `url` is the address it is for. Raises ConfigurationError."""
    address = given if "://" in given else f"http://{given}"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0:
        raise ConfigurationError(
            f"The proxy that the environment names for {url} is no URL",
            remedy="Write it as http://HOST:PORT in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, or unset it",
        )
    if parts.scheme not in SCHEMES:
        raise ConfigurationError(
            f"The proxy {parts.scheme}://{host} is of no use for {url}: only http:// and https:// proxies are",
            remedy=f"Set HTTPS_PROXY or HTTP_PROXY to such a one, or list {urlsplit(url).hostname} in NO_PROXY",
        )
    return address
