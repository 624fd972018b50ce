"""This module reads what the operator of a control plane says about notifications: the variables of its process."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from kubiya_worker.addresses import Network
from kubiya_worker.errors import ConfigurationError

NETWORKS: Final = "KUBIYA_NOTIFY_NETWORKS"
URL: Final = "KUBIYA_PUBLIC_URL"
OIDC_URL: Final = "KUBIYA_OIDC_URL"  # the same address, where signing in needs it already


@dataclass(frozen=True)
class NotifySettings:
    """`networks` are not public and may be reached all the same; `url` is where people reach the page."""

    networks: tuple[Network, ...] = ()
    url: str = ""


def settings(environ: Mapping[str, str]) -> NotifySettings:
    """Return what the variables say. Raises ConfigurationError for a wrong one."""
    url = (environ.get(URL) or environ.get(OIDC_URL) or "").strip().rstrip("/")
    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise ConfigurationError(f"{URL} {url!r} is not an address", remedy="Such as https://kubiya.example.com")
    return NotifySettings(tuple(_networks(environ.get(NETWORKS, ""))), url)


def _networks(text: str) -> list[Network]:
    try:
        return [ipaddress.ip_network(each) for each in text.replace(",", " ").split()]
    except ValueError as error:
        raise ConfigurationError(
            f"{NETWORKS} is wrong: {error}", remedy="List networks, such as 10.1.0.0/16,192.168.7.0/24"
        ) from error
