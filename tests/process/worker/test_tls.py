"""TLS to Temporal: a server that is not local is spoken to in TLS only, with a key or with client certificates.

The real Temporal stands behind a listener that ends TLS, as a load balancer does; what arrives there is looked at.
"""

from __future__ import annotations

import datetime
import ipaddress
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.process.worker.conftest import Start
from tests.support.scripted_plane import ScriptedPlane
from tests.support.stack import Stack

TEMPORAL_KEY = "temporal-key-of-the-tests"


class Certificates:
    """A CA with a server's and a client's certificate, as files."""

    def __init__(self, folder: Path) -> None:
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        self.ca, self._folder = folder / "ca.pem", folder
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test ca")])

        def make(name: str, *, authority: bool = False) -> Path:
            key = ca_key if authority else ec.generate_private_key(ec.SECP256R1())
            subject = ca_name if authority else x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
            addresses = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
            certificate = (
                x509.CertificateBuilder()
                .subject_name(subject)
                .issuer_name(ca_name)
                .public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - day)
                .not_valid_after(now + day)
                .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
                .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
                .sign(ca_key, hashes.SHA256())
            )
            (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
            (folder / f"{name}.key").write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
            return folder / f"{name}.pem"

        make("ca", authority=True)
        self.server, self.client = make("server"), make("client")


class Terminator:
    """Ends TLS and passes what is inside on; keeps the plain first bytes that came in, and what was inside."""

    def __init__(self, certificates: Certificates, target: str, *, client: bool) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates.server, certificates.server.with_suffix(".key"))
        self._context.set_alpn_protocols(["h2"])
        if client:
            self._context.verify_mode = ssl.CERT_REQUIRED
            self._context.load_verify_locations(certificates.ca)
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.refused: list[str] = []
        self.accepted = 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            inside = self._context.wrap_socket(plain, server_side=True)
        except OSError as error:
            self.refused.append(str(error))
            plain.close()
            return
        self.accepted += 1
        outside = socket.create_connection(self._target)
        self._open += [inside, outside]
        threading.Thread(target=self._pump, args=(outside, inside), daemon=True).start()
        self._pump(inside, outside)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self) -> None:
        self._listener.close()
        for end in self._open:
            end.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def sniffer() -> Iterator[tuple[str, list[bytes]]]:
    """A listener under an address that is not local, and the first bytes of what connects to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; says which address this host has
        host = probe.getsockname()[0]
    if ipaddress.ip_address(host).is_loopback:
        pytest.skip("this host has no address but loopback")
    listener = socket.create_server((host, 0))
    heads: list[bytes] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    heads.append(connection.recv(1024))
                except OSError:
                    heads.append(b"")

    threading.Thread(target=accept, daemon=True).start()
    yield f"{host}:{listener.getsockname()[1]}", heads
    listener.close()


@pytest.mark.parametrize("key", ["", TEMPORAL_KEY], ids=["without a key", "with a key"])
def test_nothing_goes_in_plain_text_to_a_server_that_is_not_local(
    start: Start, sniffer: tuple[str, list[bytes]], key: str
) -> None:
    address, heads = sniffer
    with ScriptedPlane(temporal=address, temporal_key=key) as plane:
        worker = start(plane.url)
        line = worker.expect("temporal.unreachable")
        assert "tls=True" in line
        assert ("TEMPORAL_TLS=false" in line) is (not key)
        worker.expect("temporal.unreachable")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert heads and all(head[:2] == b"\x16\x03" for head in heads if head), heads  # a TLS handshake record
    assert TEMPORAL_KEY not in "\n".join(worker.lines)


def test_a_worker_works_through_tls_with_a_key(start: Start, stack: Stack, certificates: Certificates) -> None:
    terminator = Terminator(certificates, stack.temporal_address, client=False)
    try:
        with ScriptedPlane(temporal=f"localhost:{terminator.port}", temporal_key=TEMPORAL_KEY) as plane:
            worker = start(plane.url, TEMPORAL_TLS_CA=str(certificates.ca))
            worker.expect("worker.ready")
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0
        assert terminator.accepted and not terminator.refused
    finally:
        terminator.close()


def test_client_certificates_are_shown(start: Start, stack: Stack, certificates: Certificates) -> None:
    terminator = Terminator(certificates, stack.temporal_address, client=True)
    try:
        with ScriptedPlane(temporal=f"localhost:{terminator.port}") as plane:
            without = start(plane.url, TEMPORAL_TLS_CA=str(certificates.ca))
            without.expect("temporal.unreachable")
            without.signal(signal.SIGTERM)
            assert without.wait() == 0
            worker = start(
                plane.url,
                TEMPORAL_TLS_CA=str(certificates.ca),
                TEMPORAL_TLS_CERT=str(certificates.client),
                TEMPORAL_TLS_KEY=str(certificates.client.with_suffix(".key")),
            )
            worker.expect("worker.ready")
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0
        assert terminator.refused and terminator.accepted
    finally:
        terminator.close()


def test_a_server_whose_certificate_is_not_trusted_is_not_spoken_to(
    start: Start, stack: Stack, certificates: Certificates
) -> None:
    terminator = Terminator(certificates, stack.temporal_address, client=False)
    try:
        with ScriptedPlane(temporal=f"localhost:{terminator.port}", temporal_key=TEMPORAL_KEY) as plane:
            worker = start(plane.url, TEMPORAL_TLS="true")
            worker.expect("temporal.unreachable")
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0
        assert not terminator.accepted
    finally:
        terminator.close()
