"""This module reads how the control plane reaches Temporal, and what it tells its workers of that.

The variables are those of a worker, so that one file of them serves both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kubiya_worker.errors import UsageError
from kubiya_worker.temporal_connection.security import Tls, TlsOptions, address_of, tls_for

KEY: Final = "TEMPORAL_API_KEY"
WORKERS_KEY: Final = "TEMPORAL_WORKER_API_KEY"
_BOOLEANS: Final = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True)
class TemporalAccess:
    """The access to one Temporal. The keys are read each time, so that a file with a newer one counts.

    Workers get `worker_address` and `worker_key` where these are given, else the control plane's own.
    """

    address: str
    namespace: str = "default"
    options: TlsOptions = field(default_factory=TlsOptions)
    key: Callable[[], str] = str
    worker_address: str = ""
    worker_key: Callable[[], str] = str

    def tls(self) -> Tls | None:
        """Return the TLS to use; None means plain text. Raises ConfigurationError as `tls_for` does."""
        return tls_for(self.options, self.address, self.key())

    def for_workers(self) -> dict[str, Any]:
        """Return what a worker needs to connect (docs/protocol.md#a3). An address of its own decides about TLS."""
        tls = self.tls()
        return {
            "temporal_namespace": self.namespace,
            "temporal_host": self.worker_address or self.address,
            "temporal_api_key": self.worker_key() or self.key(),
            "temporal_tls": None if self.worker_address else tls is not None,
            "temporal_tls_ca": tls.roots if tls and self.options.ca else "",
            "temporal_tls_server_name": self.options.server_name or "",
        }


def of_environment(
    environ: Mapping[str, str], address: str, namespace: str, worker_address: str, secret: Callable[[str], str]
) -> TemporalAccess:
    """Return the access by the variables TEMPORAL_*; `secret` reads a variable or the file that NAME_FILE says.

    Raise UsageError or ConfigurationError for values that cannot be used.
    """

    def text(name: str) -> str | None:
        return environ.get(name, "").strip() or None

    wanted = text("TEMPORAL_TLS")
    if wanted is not None and wanted.lower() not in (*_BOOLEANS, "off"):
        raise UsageError(f"TEMPORAL_TLS {wanted!r} is not true or false", remedy="Set it to one of them, or unset it")
    options = TlsOptions(
        wanted=None if wanted is None else _BOOLEANS.get(wanted.lower(), False),
        ca=text("TEMPORAL_TLS_CA"),
        cert=text("TEMPORAL_TLS_CERT"),
        key=text("TEMPORAL_TLS_KEY"),
        server_name=text("TEMPORAL_TLS_SERVER_NAME"),
        bundle=text("KUBIYA_CA_FILE"),
    )
    access = TemporalAccess(
        address_of(address),
        namespace,
        options,
        lambda: secret(KEY),
        address_of(worker_address) if worker_address else "",
        lambda: secret(WORKERS_KEY),
    )
    access.tls()  # a wrong file or a contradiction ends the start, not the first execution
    return access
