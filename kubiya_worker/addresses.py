"""This module decides which hosts a fetch may reach, from a URL's spelling and from the addresses of its name.

A name is resolved once, all its addresses are checked, and the connection goes to a checked one. So an answer that
changes between the check and the connection (DNS rebinding) has no effect.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LONGEST: Final = 8_192  # characters of a URL

# `is_global` differs between Python's releases, so this list is ours and is refused in any case.
_NEVER_GLOBAL: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
            *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4"),
            *("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32"),
            *("2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
        ),
    )
)
# Platform services that answer at an address that looks public.
_METADATA: Final = tuple(map(ipaddress.ip_address, ("168.63.129.16", "100.100.100.200", "169.254.169.254")))
_NUMERIC: Final = re.compile(r"(0x[0-9a-f]*|\d+)", re.IGNORECASE)
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_LOCAL_NAMES: Final = re.compile(r"(.*\.)?(localhost|localdomain|local|internal|intranet|home\.arpa|lan)")


class RequestRefused(Exception):
    """The URL is not fetched; the message is for the model."""


@dataclass(frozen=True)
class Target:
    """A URL with a correct spelling; `host` is in lower case, ASCII, without brackets or a final dot."""

    scheme: str
    host: str
    port: int
    url: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port


def parse(url: str) -> Target:
    """Return the URL's parts. Raise RequestRefused unless it is http(s) with a plain host and has one reading."""
    if len(url) > LONGEST:
        raise RequestRefused(f"The URL has {len(url)} characters; {LONGEST} are the most")
    if any(ord(char) <= 32 or ord(char) == 127 or char == "\\" for char in url):
        raise RequestRefused("The URL holds blanks, control characters or a backslash; encode them")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
    except ValueError as error:
        raise RequestRefused(f"The URL cannot be understood ({error})") from None
    if parts.scheme not in ("http", "https"):
        raise RequestRefused("Only http:// and https:// URLs can be fetched")
    if "@" in parts.netloc:
        raise RequestRefused("The URL has a user name or a password in it; leave them out")
    port = (443 if parts.scheme == "https" else 80) if port is None else port
    if port not in (80, 443) and port < 1024:
        raise RequestRefused(f"Port {port} is not one that web servers use (80, 443, 1024 and above)")
    return Target(parts.scheme, _host(host, "[" in parts.netloc), port, url)


def literal(host: str) -> Address | None:
    """Return the address if the host is written as one, else None."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def check(host: str, addresses: Sequence[Address], private: Sequence[Network]) -> None:
    """Raise RequestRefused unless every address is public or in one of the networks that the configuration names."""
    if not addresses:
        raise RequestRefused(f"{host} has no address")
    for address in addresses:
        inside = any(address in network for network in private if network.version == address.version)
        if address in _METADATA or not (is_public(address) or inside):
            shown = "" if literal(host) else f" ({address})"
            raise RequestRefused(f"{host}{shown} is not a public address")


def is_public(address: Address) -> bool:
    if any(address in network for network in _NEVER_GLOBAL if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast and getattr(address, "scope_id", None) is None


def is_local_name(host: str) -> bool:
    return bool(_LOCAL_NAMES.fullmatch(host))


def _host(host: str, bracketed: bool) -> str:
    if bracketed:
        if "%" in host or literal(host) is None:
            raise RequestRefused("The host is not an IPv6 address without a zone")
        return str(literal(host))
    normalized = unicodedata.normalize("NFKC", host).lower()
    if not normalized.isascii():
        try:
            normalized = normalized.encode("idna").decode("ascii")
        except UnicodeError:
            raise RequestRefused("The host is not a name of the internet") from None
    elif normalized != host:
        raise RequestRefused("The host is spelt with letters that only look like others")
    normalized = normalized.removesuffix(".")
    labels = normalized.split(".")
    if _NUMERIC.fullmatch(labels[-1]):  # by the URL standard this is an IPv4 address, in one of its many spellings
        address = literal(normalized)
        if address is None:
            raise RequestRefused("The host is an address in an unusual spelling; write four decimal numbers")
        return str(address)
    if len(normalized) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise RequestRefused("The host is not a name of the internet")
    return normalized
