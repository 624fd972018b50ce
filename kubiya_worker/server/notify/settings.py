"""This module reads what the operator of a control plane says about notifications: the variables of its process."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from kubiya_worker.addresses import Network
from kubiya_worker.errors import ConfigurationError

NETWORKS: Final = "KUBIYA_NOTIFY_NETWORKS"
APPRISE: Final = "KUBIYA_NOTIFY_APPRISE"
URL: Final = "KUBIYA_PUBLIC_URL"
OIDC_URL: Final = "KUBIYA_OIDC_URL"  # the same address, where signing in needs it already

# Services of Apprise that are this host's own: its desktop, its log, its devices. A message never goes there.
OF_THIS_HOST: Final = frozenset({"blink1", "dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"})
_SERVICE: Final = re.compile(r"[a-z][a-z0-9_+-]{0,29}")


@dataclass(frozen=True)
class NotifySettings:
    """`networks` are not public and may be reached all the same; `url` is where people reach the page.

    `apprise` are the services of the library that may be used, as its URLs begin.
    """

    networks: tuple[Network, ...] = ()
    url: str = ""
    apprise: frozenset[str] = frozenset()


def settings(environ: Mapping[str, str]) -> NotifySettings:
    """Return what the variables say. Raises ConfigurationError for a wrong one."""
    url = (environ.get(URL) or environ.get(OIDC_URL) or "").strip().rstrip("/")
    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise ConfigurationError(f"{URL} {url!r} is not an address", remedy="Such as https://kubiya.example.com")
    return NotifySettings(tuple(_networks(environ.get(NETWORKS, ""))), url, _services(environ.get(APPRISE, "")))


def _networks(text: str) -> list[Network]:
    try:
        return [ipaddress.ip_network(each) for each in text.replace(",", " ").split()]
    except ValueError as error:
        raise ConfigurationError(
            f"{NETWORKS} is wrong: {error}", remedy="List networks, such as 10.1.0.0/16,192.168.7.0/24"
        ) from error


def _services(text: str) -> frozenset[str]:
    services = frozenset(text.lower().replace(",", " ").split())
    for name in sorted(services):
        if name in OF_THIS_HOST:
            raise ConfigurationError(
                f"{APPRISE} names {name}, which is of this host itself", remedy="Leave it out: it is never allowed"
            )
        if not _SERVICE.fullmatch(name):
            raise ConfigurationError(
                f"{APPRISE} names {name[:40]!r}, which is no service",
                remedy="List services as their URLs begin, such as pover,matrixs,tgram",
            )
    return services
