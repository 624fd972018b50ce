"""`examine` finds what is wrong with a connection to Temporal. Temporal and TLS are real here."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from kubiya_worker.temporal_connection.faults import Fault, Tunnel, examine
from kubiya_worker.temporal_connection.security import Tls
from tests.support.certificates import Certificates, Terminator
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("strangers"))


@pytest.fixture
def behind_tls(stack: Stack, certificates: Certificates) -> Iterator[Callable[..., str]]:
    """Put a listener that ends TLS before Temporal; return its address."""
    with ExitStack() as opened:

        def behind(*, client: bool = False) -> str:
            terminator = Terminator(certificates, stack.temporal_address, client=client)
            opened.enter_context(closing(terminator))
            return f"localhost:{terminator.port}"

        yield behind


@pytest.fixture
def web_server() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.rfile.readline(65537)
            self.wfile.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            self.close_connection = True

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def trusting(certificates: Certificates, client: Path | None = None, key: Path | None = None) -> Tls:
    """Return TLS that trusts a CA, with a client's certificate if one is given, and its key if that is another's."""
    own = key or (client.with_suffix(".key") if client else None)
    return Tls(certificates.ca.read_text(), str(certificates.ca), client, own)


def kind(found: Fault | None) -> str:
    return found.kind if found else ""


def test_a_connection_that_works_has_no_fault(
    stack: Stack, behind_tls: Callable[..., str], certificates: Certificates
) -> None:
    assert examine(stack.temporal_address, None) is None
    assert examine(behind_tls(), trusting(certificates)) is None
    assert examine(behind_tls(client=True), trusting(certificates, certificates.client)) is None


def test_plain_text_against_tls_and_the_other_way_round(stack: Stack, behind_tls: Callable[..., str]) -> None:
    found = examine(behind_tls(), None)
    assert found and (found.kind, found.remedy) == ("tls needed", "Set TEMPORAL_TLS=true")
    found = examine(stack.temporal_address, Tls())
    assert found and (found.kind, found.remedy) == ("plain text needed", "Set TEMPORAL_TLS=false")


def test_a_client_certificate_that_is_missing_or_of_another_ca(
    behind_tls: Callable[..., str], certificates: Certificates, strangers: Certificates
) -> None:
    address = behind_tls(client=True)
    found = examine(address, trusting(certificates))
    assert found and found.kind == "client certificate" and "asks for a client certificate" in found.message
    found = examine(address, trusting(certificates, strangers.client))
    assert found and found.kind == "client certificate"
    assert f"refuses the client certificate {strangers.client}" in found.message
    assert kind(examine(address, None)) == "tls needed"


def test_a_certificate_for_another_name(behind_tls: Callable[..., str], certificates: Certificates) -> None:
    found = examine(behind_tls(), replace(trusting(certificates), server_name="other.example"))
    assert found and found.kind == "other name" and "'other.example'" in found.message
    assert "TEMPORAL_TLS_SERVER_NAME" in found.remedy


def test_a_certificate_of_a_ca_that_nobody_knows(
    behind_tls: Callable[..., str], strangers: Certificates, certificates: Certificates
) -> None:
    address = behind_tls()
    for tls in (Tls(), trusting(strangers)):
        found = examine(address, tls)
        assert found and found.kind == "untrusted" and "TEMPORAL_TLS_CA" in found.remedy
    assert kind(examine(address, Tls("no certificate", "ca.pem"))) == "client files"
    wrong_key = trusting(certificates, certificates.client, strangers.client.with_suffix(".key"))
    assert kind(examine(address, wrong_key)) == "client files"


def test_what_is_not_temporal(web_server: str) -> None:
    found = examine(web_server, None)
    assert found and found.kind == "not Temporal" and "an HTTP/1 server" in found.message
    assert kind(examine(web_server, Tls())) == "not Temporal"


def test_what_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    assert kind(examine(address, None)) == kind(examine(address, Tls())) == "closed port"
    found = examine("no-such-host.invalid:7233", None)
    assert found and found.kind == "name" and "getent hosts no-such-host.invalid" in found.remedy


def test_a_proxy_that_refuses_is_named(stack: Stack, web_server: str) -> None:
    found = examine("temporal.example:7233", Tls(), Tunnel(web_server))
    assert found and found.kind == "proxy" and web_server in found.message and "NO_PROXY" in found.remedy
