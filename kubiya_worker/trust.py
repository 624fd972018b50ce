"""TLS trust: one set of CA certificates for all clients of this process.

The libraries differ: requests and botocore read REQUESTS_CA_BUNDLE, httpx and Temporal's core SSL_CERT_FILE; without
either requests has a bundle of its own, the others have the host's. Here all of them get the same.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final

from kubiya_worker.errors import ConfigurationError

VARIABLES: Final = ("KUBIYA_CA_FILE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # the first that is set
READ_BY_LIBRARIES: Final = VARIABLES[1:3]
# Places of the system's certificates, for an OpenSSL that was built with another default place.
STORES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Red Hat
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


def use_ca_bundle(ca_file: str | None, environ: MutableMapping[str, str]) -> None:
    """Make every client of this process trust only this CA file. Raises ConfigurationError for an invalid file."""
    if not ca_file:
        return
    path = Path(ca_file).expanduser().absolute()
    _check(path)
    environ.update(dict.fromkeys(READ_BY_LIBRARIES, str(path)))


class CaCheck:
    """The same, while the caller goes on: a host's bundle takes 20 ms, in which Python's lock is free."""

    def __init__(self, ca_file: str | None, environ: MutableMapping[str, str]) -> None:
        self._fault: ConfigurationError | None = None
        self._thread: threading.Thread | None = None
        if ca_file:
            path = Path(ca_file).expanduser().absolute()
            environ.update(dict.fromkeys(READ_BY_LIBRARIES, str(path)))
            self._thread = threading.Thread(target=self._run, args=(path,), daemon=True)
            self._thread.start()

    def _run(self, path: Path) -> None:
        try:
            _check(path)
        except ConfigurationError as error:
            self._fault = error

    def finish(self) -> None:
        """Wait for the check. Raises ConfigurationError for an invalid file."""
        if self._thread is not None:
            self._thread.join()
        if self._fault is not None:
            raise self._fault


def _check(path: Path) -> None:
    import ssl  # slow to import, and not needed by every start

    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"The CA file {path} holds no certificates", remedy=f"Set {VARIABLES[0]} to a file of PEM certificates"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"The CA file {path} cannot be read: {error.strerror}", remedy=f"Check {', '.join(VARIABLES)}"
        ) from error


def use_ca_bundle_of_environment(environ: MutableMapping[str, str]) -> None:
    """Do the same for programs without settings: the file is taken from the environment."""
    use_ca_bundle(next((environ[name] for name in VARIABLES if environ.get(name)), None), environ)


def bundle(environ: Mapping[str, str]) -> str | None:
    """Return the CA file or folder to use; None when this host has none and the libraries use their own."""
    configured = next((environ[name] for name in (*VARIABLES, "SSL_CERT_DIR") if environ.get(name)), None)
    if configured:
        return configured
    import ssl

    known = ssl.get_default_verify_paths()
    return next((path for path in (known.openssl_cafile, *STORES) if path and Path(path).is_file()), None)
