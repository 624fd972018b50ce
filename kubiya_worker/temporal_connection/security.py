"""Decide between plain text and TLS for an address of Temporal, and check the certificate files."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from kubiya_worker.errors import ConfigurationError

if TYPE_CHECKING:
    from temporalio.client import TLSConfig

PORT: Final = 7233
LOCAL_NAMES: Final = ("localhost", "temporal", "host.docker.internal")  # docs/protocol.md#b1


@dataclass(frozen=True)
class TlsOptions:
    """These are the settings for TLS to Temporal. `wanted` None lets address and certificates decide.

    `ca` is the file of Temporal's own CA. Without it `ca_text` counts, certificates in PEM that the control plane
    sends, and at last `bundle`, the CA file of all connections.
    """

    wanted: bool | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None
    ca_text: str = ""
    bundle: str | None = None


@dataclass(frozen=True)
class Tls:
    """TLS as it is used. `roots` are certificates in PEM, of `roots_from`; without them the system's count."""

    roots: str = ""
    roots_from: str = "the system's CA certificates"
    cert: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    def config(self) -> TLSConfig:
        """Return it for the SDK. Raises ConfigurationError when a file cannot be read any more."""
        from temporalio.client import TLSConfig  # imported here: it takes long, and a control plane starts without it

        return TLSConfig(
            server_root_ca_cert=self.roots.encode() or None,
            client_cert=_content(self.cert) if self.cert else None,
            client_private_key=_content(self.key) if self.key else None,
            domain=self.server_name,
        )


def address_of(text: str) -> str:
    """Return `host:port`, with Temporal's port when none is given.

    Raise ConfigurationError when the text is no address.
    """
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.path or parts.query or "@" in text:
        raise ConfigurationError(
            f"The Temporal address {text!r} is not host:port",
            remedy="Check TEMPORAL_HOST, or the control plane's --temporal-address",
        )
    return f"{f'[{host}]' if ':' in host else host}:{port or PORT}"


def is_local(address: str) -> bool:
    """Return whether an address is of this machine or its containers."""
    host = urlsplit(f"//{address}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOCAL_NAMES


def tls_for(options: TlsOptions, address: str, api_key: str) -> Tls | None:
    """Return the TLS to use; None means plain text, for a local server without a key or with TEMPORAL_TLS=false.

    Raise ConfigurationError for files that cannot be read and for settings that contradict each other.
    """
    certain = any((options.ca, options.ca_text, options.cert, options.key, options.server_name))
    if options.wanted is False:
        if certain:
            raise ConfigurationError(
                "TEMPORAL_TLS is false, and certificates or a server's name are given", remedy="Unset one of them"
            )
        if api_key and not is_local(address):
            raise ConfigurationError(
                f"The key for Temporal at {address} would travel without TLS", remedy="Unset TEMPORAL_TLS"
            )
        return None
    if bool(options.cert) != bool(options.key):
        raise ConfigurationError(
            "A client certificate needs its key and the other way round",
            remedy="Set both TEMPORAL_TLS_CERT and TEMPORAL_TLS_KEY",
        )
    if not certain and not options.wanted and is_local(address):
        return None
    cert, key = _path(options.cert), _path(options.key)
    for path in (cert, key):
        if path:
            _content(path)
    file = _path(options.ca)
    if file is None and options.ca_text:
        return Tls(options.ca_text, "the CA that the control plane sent", cert, key, options.server_name)
    file = file or _path(options.bundle)
    if file is None:
        return Tls(cert=cert, key=key, server_name=options.server_name)
    return Tls(_text(file), str(file), cert, key, options.server_name)


def _path(name: str | None) -> Path | None:
    return Path(name).expanduser() if name else None


def _text(path: Path) -> str:
    try:
        return _content(path).decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"The TLS file {path} is not PEM", remedy="Check TEMPORAL_TLS_CA") from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"A TLS file cannot be read: {error}", remedy="Check TEMPORAL_TLS_*") from error
