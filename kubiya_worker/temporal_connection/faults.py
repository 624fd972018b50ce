"""Find out what is wrong with a connection to Temporal that failed.

The SDK's core says it in nested words of several libraries. So this module connects once more by itself, as far as
needed, and decides by what the operating system, OpenSSL's error codes and the first bytes of the server say.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from base64 import b64encode
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from kubiya_worker.temporal_connection.security import Tls

WITHIN: Final = 3.0  # seconds for each connection of the search
# The beginning of an HTTP/2 connection, with an empty frame of SETTINGS (RFC 9113, 3.4).
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
SETTINGS: Final = 4  # the type of the frame that each HTTP/2 server sends first
TLS_ALERT: Final = b"\x15\x03"  # a record of TLS: an alert
NAME_CODES: Final = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
DATE_CODES: Final = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


@dataclass(frozen=True)
class Tunnel:
    """The HTTP proxy that leads to Temporal: `host:port`, and user and password if it wants them."""

    address: str
    login: tuple[str, str] | None = None


@dataclass(frozen=True)
class Fault:
    """A fault says what is wrong with a connection. `kind` is one of the words that `examine` lists."""

    kind: str
    message: str
    remedy: str


def examine(address: str, tls: Tls | None, tunnel: Tunnel | None = None) -> Fault | None:
    """Return what keeps a client from Temporal at `host:port`; None when the connection itself works.

    Kinds: `name`, `closed port`, `silent`, `proxy`, `tls needed`, `plain text needed`, `untrusted`, `expired`,
    `other name`, `client certificate`, `client files`, `not Temporal`. It takes up to some seconds, in a thread.
    """
    try:
        with _connected(address, tunnel) as connection:
            return _secured(address, tls, tunnel, connection) if tls else _plain(address, tunnel, connection)
    except _Found as found:
        return found.fault


class _Found(Exception):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault


def _connected(address: str, tunnel: Tunnel | None) -> socket.socket:
    """Return a connection to Temporal, through the proxy if there is one. Raises _Found."""
    place = tunnel.address if tunnel else address
    host, port = _parts(place)
    whose = f"The proxy {place}" if tunnel else f"Temporal at {address}"
    try:
        if tunnel is None:
            return socket.create_connection((host, port), WITHIN)
        proxy = http.client.HTTPConnection(host, port, timeout=WITHIN)
        login = {"Proxy-Authorization": f"Basic {_basic(*tunnel.login)}"} if tunnel.login else {}
        proxy.set_tunnel(*_parts(address), headers=login)
        proxy.connect()
        return proxy.sock
    except socket.gaierror as error:
        raise _Found(
            Fault("name", f"The name {host!r} is unknown ({error.strerror})", f"Check the address: getent hosts {host}")
        ) from error
    except TimeoutError as error:
        raise _Found(
            Fault("silent", f"{whose} does not answer within {WITHIN:g} s", f"Check the firewall: nc -vz {host} {port}")
        ) from error
    except OSError as error:
        if tunnel and not isinstance(error, ConnectionRefusedError):  # http.client raises one for a refused CONNECT
            fault = f"The proxy {place} does not lead to {address} ({error})"
            raise _Found(Fault("proxy", fault, f"Check the proxy, or list {address} in NO_PROXY")) from error
        fault = f"{whose} cannot be reached ({error.strerror or error})"
        raise _Found(
            Fault("closed port", fault, f"Check the address, and that it runs: nc -vz {host} {port}")
        ) from error


def _plain(address: str, tunnel: Tunnel | None, connection: socket.socket) -> Fault | None:
    answer = _first_bytes(connection)
    if _is_http2(answer):
        return None
    if answer.startswith(TLS_ALERT) or _speaks_tls(address, tunnel):
        return Fault(
            "tls needed", f"Temporal at {address} speaks TLS, and is asked in plain text", "Set TEMPORAL_TLS=true"
        )
    return _not_temporal(address, answer)


def _secured(address: str, tls: Tls, tunnel: Tunnel | None, connection: socket.socket) -> Fault | None:
    host = tls.server_name or _parts(address)[0]
    try:
        context = ssl.create_default_context(cadata=tls.roots or None)
        if tls.cert:
            context.load_cert_chain(tls.cert, tls.key)
    except (ssl.SSLError, OSError) as error:
        files = ", ".join(str(each) for each in (tls.roots and tls.roots_from, tls.cert, tls.key) if each)
        reason = getattr(error, "reason", None) or error.strerror or error
        return Fault("client files", f"A TLS file of {files} cannot be used ({reason})", "Check TEMPORAL_TLS_*")
    context.set_alpn_protocols(["h2"])
    try:
        secured = context.wrap_socket(connection, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        return _not_trusted(address, host, tls, error)
    except (ssl.SSLError, OSError) as error:
        with _connected(address, tunnel) as again:
            if _is_http2(_first_bytes(again)):
                fault = f"Temporal at {address} speaks plain text, and is asked in TLS"
                return Fault("plain text needed", fault, "Set TEMPORAL_TLS=false")
        if _is_alert(error):
            return _wants_certificate(address, tls)
        return _not_temporal(address, b"")
    with secured:
        try:
            answer = _first_bytes(secured)
        except ssl.SSLError:  # with TLS 1.3 a server refuses a client's certificate after the handshake
            return _wants_certificate(address, tls)
    return None if _is_http2(answer) else _not_temporal(address, answer)


def _not_trusted(address: str, host: str, tls: Tls, error: ssl.SSLCertVerificationError) -> Fault:
    if error.verify_code in NAME_CODES:
        return Fault(
            "other name",
            f"The certificate of Temporal at {address} is not for {host!r}",
            "Use a name of its certificate, or set TEMPORAL_TLS_SERVER_NAME to one",
        )
    if error.verify_code in DATE_CODES:
        fault = f"The certificate of Temporal at {address} is not valid now ({error.verify_message})"
        return Fault("expired", fault, "Renew the certificate, and compare the clocks: date")
    fault = f"The certificate of Temporal at {address} is not trusted by {tls.roots_from} ({error.verify_message})"
    return Fault("untrusted", fault, "Set TEMPORAL_TLS_CA to the file of its CA")


def _wants_certificate(address: str, tls: Tls) -> Fault:
    if tls.cert:
        said = f"Temporal at {address} refuses the client certificate {tls.cert}"
        return Fault("client certificate", said, "Set TEMPORAL_TLS_CERT and TEMPORAL_TLS_KEY to one of a CA it trusts")
    said = f"Temporal at {address} asks for a client certificate"
    return Fault("client certificate", said, "Set TEMPORAL_TLS_CERT and TEMPORAL_TLS_KEY")


def _not_temporal(address: str, answer: bytes) -> Fault:
    server = "an HTTP/1 server" if answer.startswith(b"HTTP/1") else "no gRPC server"
    return Fault("not Temporal", f"{address} is {server}, not Temporal", "Check its port: Temporal's is 7233")


def _speaks_tls(address: str, tunnel: Tunnel | None) -> bool:
    """Return whether a server answers a handshake of TLS; who it is does not matter here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(_Found), _connected(address, tunnel) as connection:
        try:
            context.wrap_socket(connection, server_hostname=_parts(address)[0]).close()
        except (ssl.SSLError, OSError) as error:
            return _is_alert(error)
        return True
    return False


def _is_alert(error: OSError) -> bool:
    """Return whether a handshake failed by an alert of the other side: OpenSSL numbers these from 1000."""
    return isinstance(error, ssl.SSLError) and "_ALERT_" in (error.reason or "")


def _first_bytes(connection: socket.socket) -> bytes:
    """Return what a server answers to the preface of HTTP/2; nothing when it closes or stays silent."""
    try:
        connection.sendall(PREFACE)
        return connection.recv(64)
    except ssl.SSLError:
        raise
    except OSError:
        return b""


def _is_http2(answer: bytes) -> bool:
    return len(answer) > 3 and answer[3] == SETTINGS and not answer.startswith((b"HTTP", TLS_ALERT))


def _basic(user: str, password: str) -> str:
    return b64encode(f"{user}:{password}".encode()).decode()


def _parts(address: str) -> tuple[str, int]:
    parts = urlsplit(f"//{address}")
    return parts.hostname or "", parts.port or 0
