"""The variables by which what tools start reaches the network as the worker does: its proxy and its CAs.

Without them `curl`, `git` and `pip`, or a server that npx fetches, fail where the worker itself has its way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from kubiya_worker.proxies import PROXIES
from kubiya_worker.trust import READ_BY_LIBRARIES

CA_FILE: Final = READ_BY_LIBRARIES[0]  # set in the worker's own environment where it trusts a file of its own
# curl reads a variable of its own where it was built without OpenSSL, and git reads only its own.
CA_VARIABLES: Final = (*READ_BY_LIBRARIES, "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS")
PROXY_VARIABLES: Final = tuple(case for name in (*PROXIES, "no_proxy") for case in (name, name.upper()))


def of_worker(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a process. A proxy with a user or a password is left out: that is a secret."""
    ca_file = environ.get(CA_FILE)
    variables = dict.fromkeys(CA_VARIABLES, ca_file) if ca_file else {}
    proxies = {name: environ[name] for name in PROXY_VARIABLES if environ.get(name)}
    return {**variables, **{name: value for name, value in proxies.items() if not _names_somebody(value)}}


def files(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the files that these variables name, which a confined process has to be able to read."""
    return (environ[CA_FILE],) if environ.get(CA_FILE) else ()


def _names_somebody(proxy: str) -> bool:
    try:
        return "@" in urlsplit(proxy if "://" in proxy else f"http://{proxy}").netloc
    except ValueError:
        return True
