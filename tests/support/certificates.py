"""Certificates of a CA of the tests' own, and a listener that ends TLS with them, as a load balancer does."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


class Certificates:
    """A CA with a server's and a client's certificate, as files; they are for `hosts` and this machine.

    With all that RFC 5280 asks for: Python 3.13 and later insist on it.
    """

    def __init__(self, folder: Path, *hosts: str) -> None:
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        self.ca, self._folder = folder / "ca.pem", folder
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test ca")])

        def make(name: str, *, authority: bool = False) -> Path:
            key = ca_key if authority else ec.generate_private_key(ec.SECP256R1())
            subject = ca_name if authority else x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
            usage = dict.fromkeys(USAGES, False) | {"digital_signature": not authority, "key_cert_sign": authority}
            names = [x509.DNSName(host) for host in ("localhost", *hosts)]
            addresses = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), *names]
            certificate = (
                x509.CertificateBuilder()
                .subject_name(subject)
                .issuer_name(ca_name)
                .public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - day)
                .not_valid_after(now + day)
                .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
                .add_extension(x509.KeyUsage(**usage), critical=True)
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
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

    def __init__(self, certificates: Certificates, target: str, *, client: bool = False, alpn: str = "h2") -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates.server, certificates.server.with_suffix(".key"))
        self._context.set_alpn_protocols([alpn])
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
        except (ssl.SSLEOFError, ConnectionError):  # it was given up, which says nothing of certificates
            plain.close()
            return
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
