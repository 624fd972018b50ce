"""The variables by which the process of an MCP server reaches the network as its worker does: its proxy and its CAs.

Without them a server that npx or uvx fetches, or one that asks an API, fails where the worker itself has its way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from kubiya_worker.proxies import PROXIES
from kubiya_worker.trust import READ_BY_LIBRARIES

CA_FILE: Final = READ_BY_LIBRARIES[0]  # set in the worker's own environment where it trusts a file of its own
CA_VARIABLES: Final = (*READ_BY_LIBRARIES, "NODE_EXTRA_CA_CERTS")
PROXY_VARIABLES: Final = tuple(case for name in (*PROXIES, "no_proxy") for case in (name, name.upper()))


def of_worker(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a server's process. A proxy with a user or a password is left out: that is a secret."""
    ca_file = environ.get(CA_FILE)
    found = dict.fromkeys(CA_VARIABLES, ca_file) if ca_file else {}
    proxies = {name: environ[name] for name in PROXY_VARIABLES if environ.get(name)}
    return {**found, **{name: value for name, value in proxies.items() if not _names_somebody(value)}}


def _names_somebody(proxy: str) -> bool:
    try:
        return "@" in urlsplit(proxy if "://" in proxy else f"http://{proxy}").netloc
    except ValueError:
        return True
