"""A policy service (protocol.md#d7) that does what a test says: answers, or is slow, broken, elsewhere, not trusted.

with EnforcerService() as service:
    service.answer = {"allow": False, "policies": ["prod-freeze"]}
    service.questions                                 # what it was asked, in order
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

ALLOW: dict[str, Any] = {"allow": True, "id": "decision-1", "policies": []}


@dataclass
class Raw:
    """An answer that is not the usual JSON object. `body` goes out byte by byte with `pause` seconds before each."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0  # seconds before the status line
    pause: float = 0.0
    drop: bool = False  # close the connection without a word


Answer = dict[str, Any] | Raw
HANGS = 30.0  # seconds of a service that does not answer; tests never wait for it


class EnforcerService:
    """`answer` is an object, a Raw, or a function of the question that gives one. With `certificate` it speaks TLS."""

    def __init__(self, answer: Answer | Callable[[dict[str, Any]], Answer] = ALLOW, certificate: Path | None = None):
        self.answer = answer
        self.questions: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.paths: list[str] = []
        self.connections: set[tuple[str, int]] = set()
        self._over = threading.Event()
        self._sockets: list[socket.socket] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                service._sockets.append(self.connection)

            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = json.loads(raw)
                service.connections.add(self.client_address)
                service.paths.append(self.path)
                service.keys.append(self.headers.get("Authorization", ""))
                service.questions.append(asked)
                answer = service.answer(asked) if callable(service.answer) else service.answer
                reply = answer if isinstance(answer, Raw) else Raw(json.dumps(answer).encode())
                try:
                    self._send(reply)
                except OSError:
                    self.close_connection = True  # the worker did not wait

            do_GET = do_POST

            def _send(self, reply: Raw) -> None:
                service._over.wait(reply.delay)
                if reply.drop:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                for at in range(len(reply.body)) if reply.pause else ():
                    service._over.wait(reply.pause)
                    self.wfile.write(reply.body[at : at + 1])
                if not reply.pause:
                    self.wfile.write(reply.body)

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256  # many calls at once open as many connections

            def handle_error(self, *_: object) -> None: ...  # a handshake that the worker refuses

        self._server = Server(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # The handshake belongs into the connection's own thread.
            self._server.socket = context.wrap_socket(self._server.socket, True, do_handshake_on_connect=False)
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> EnforcerService:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse connections from now on, and close those that were kept."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def self_signed(folder: Path, host: str = "127.0.0.1") -> Path:
    """A key and a certificate for `host` that nobody has signed, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
