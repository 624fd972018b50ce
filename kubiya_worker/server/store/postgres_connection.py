"""This module makes connections to a PostgreSQL server, and says what is wrong with one that cannot be made."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Mapping
from typing import Any, Final

import psycopg
from sqlalchemy.exc import DBAPIError, OperationalError

from kubiya_worker.errors import ConfigurationError, Unavailable, WorkerError
from kubiya_worker.server.store.address import PostgresAddress
from kubiya_worker.server.store.statement import PSYCOPG

PSYCOPG.dbapi = psycopg  # type: ignore[assignment]  # it names the errors

LOCK_WAIT: Final = 2  # seconds for a row that another process is changing
LONGEST_STATEMENT: Final = 60  # seconds
SILENCE: Final = 10  # seconds without an answer of the server's kernel, after which a connection is lost
CONNECT_WAIT: Final = 5  # seconds
WITH_TLS: Final = frozenset({"require", "verify-ca", "verify-full"})  # of sslmode
ASK_FOR_TLS: Final = struct.pack("!ii", 8, 80877103)  # SSLRequest of PostgreSQL's protocol; the answer is one byte
WRONG_NAME: Final = 62  # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH
WRONG_ADDRESS: Final = 64  # OpenSSL's X509_V_ERR_IP_ADDRESS_MISMATCH
EXPIRED: Final = 10  # OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED


class DatabaseAway(OperationalError):
    """The server cannot be asked now; what was asked may be tried again in a second."""

    def __init__(self, reason: str) -> None:
        super().__init__("connect", None, ConnectionError(reason))


class DatabaseBusy(OperationalError):
    """All connections were in use for too long. The reason is a whole answer for people."""

    def __init__(self, reason: str) -> None:
        super().__init__("connect", None, TimeoutError(reason))


def connected(address: PostgresAddress, **more: Any) -> psycopg.Connection[Any]:
    """Return a connection whose statements are transactions of their own; raise ConfigurationError or Unavailable."""
    try:
        return psycopg.connect(address.url, autocommit=True, **options(address), **more)
    except psycopg.Error as error:
        raise refused(address, error) from error


def options(address: PostgresAddress) -> dict[str, Any]:
    """Return what a connection is asked for, unless the address says otherwise."""
    wanted: dict[str, Any] = {
        "application_name": "kubiya-server",
        "connect_timeout": CONNECT_WAIT,
        "tcp_user_timeout": SILENCE * 1000,
        "keepalives_idle": SILENCE,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "client_encoding": "UTF8",
    }
    try:
        parameters = psycopg.conninfo.conninfo_to_dict(address.url)
    except psycopg.Error as error:
        raise refused(address, error) from error
    # A process that was stopped in the middle of a transaction must not hold its rows for ever.
    ours = (
        f"-c lock_timeout={LOCK_WAIT}s -c statement_timeout={LONGEST_STATEMENT}s "
        f"-c idle_in_transaction_session_timeout={2 * LOCK_WAIT}s -c tcp_keepalives_idle={SILENCE} "
        f"-c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
    )
    kept = {name: value for name, value in wanted.items() if name not in parameters}
    return {**kept, "options": f"{ours} {parameters.get('options') or ''}".strip()}


def refused(address: PostgresAddress, error: psycopg.Error) -> WorkerError:
    """Return what people are told of a connection that could not be made: what, where, and what mends it."""
    reason = in_one_line(str(error)).replace(address.password or "\0", "***")
    if isinstance(error, psycopg.ProgrammingError):
        return ConfigurationError(f"The address {address} is wrong: {reason}", remedy="postgresql://USER@HOST/NAME")
    if error.pgconn is not None and error.pgconn.needs_password:
        return ConfigurationError(
            f"The server of {address} asks for a password",
            remedy="Name a file with PGPASSFILE, or put the address with the password into KUBIYA_DATABASE_FILE",
        )
    fault = tls_fault(psycopg.conninfo.conninfo_to_dict(address.url))
    if fault is not None:
        return ConfigurationError(f"The database {address} cannot be reached with TLS: {fault[0]}", remedy=fault[1])
    return Unavailable(
        f"The database {address} cannot be reached: {reason}",
        remedy="Check host, port, user and name in the address, and that the server runs there",
    )


def tls_fault(parameters: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what is wrong with TLS and what mends it, by asking the server once more; None where it is not TLS."""
    host, mode = str(parameters.get("host") or ""), str(parameters.get("sslmode") or "")
    if mode not in WITH_TLS or not host or host.startswith("/") or "," in host:
        return None
    context = ssl.create_default_context()
    roots = parameters.get("sslrootcert")
    try:
        if roots and roots != "system":
            context.load_verify_locations(str(roots))
    except (OSError, ssl.SSLError):
        return f"sslrootcert {roots} is not a file of certificates", "Name one in PEM"
    if mode != "verify-full":
        context.check_hostname = False
    if mode == "require" and not roots:
        context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, int(parameters.get("port") or 5432)), CONNECT_WAIT) as plain:
            plain.sendall(ASK_FOR_TLS)
            if plain.recv(1) != b"S":
                return "the server speaks none", "Turn on ssl there, or ask for sslmode=disable on a network you trust"
            with context.wrap_socket(plain, server_hostname=host):
                return None
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in (WRONG_NAME, WRONG_ADDRESS):
            return f"its certificate is not for {host}", "Use a name that the certificate has, or sslmode=verify-ca"
        if error.verify_code == EXPIRED:
            return "its certificate has expired", "Renew it on the server"
        return "its certificate is by nobody known here", "Name the file of its authority: ?sslrootcert=FILE"
    except ssl.SSLError as error:
        return f"the handshake failed ({error.reason})", "Check versions of TLS, and sslcert if it asks for one"
    except OSError:
        return None


def in_one_line(reason: str) -> str:
    return "; ".join(line.strip().rstrip(".?") for line in reason.splitlines() if line.strip())


def as_database_error(sql: str, error: psycopg.Error) -> Exception:
    """Return the driver's error as SQLAlchemy's, by which callers tell a full disk from a mistake."""
    return DBAPIError.instance(sql, None, error, psycopg.Error, dialect=PSYCOPG)
