"""Findings about the way to a control plane, against real listeners on this host."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kubiya_worker import trust
from kubiya_worker.doctor import network
from kubiya_worker.doctor.check import FAIL, PASS, SKIP, WARN, Check, Report, examine
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.settings import Settings


class _Server(BaseHTTPRequestHandler):
    date = ""
    status = 200
    body = b""

    def do_GET(self) -> None:
        self.send_response_only(self.status)
        self.send_header("Date", self.date or format_datetime(datetime.now(UTC), usegmt=True))
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    listening = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Server,), {}))
    thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
    thread.start()
    yield listening
    listening.shutdown()
    thread.join()
    listening.server_close()


def _url(server: ThreadingHTTPServer, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{server.server_port}"


def test_names_are_looked_up() -> None:
    assert network.dns("http://localhost:1").status == PASS
    found = network.dns("https://no-such-host.invalid")
    assert (found.status, found.remedy) == (FAIL, "getent hosts no-such-host.invalid; cat /etc/resolv.conf")


def test_a_control_plane_that_answers_nobody_or_an_error_fails(server: ThreadingHTTPServer) -> None:
    assert network.control_plane(_url(server)).status == PASS
    server.RequestHandlerClass.status = 404  # type: ignore[attr-defined]
    assert network.control_plane(_url(server)).status == FAIL
    nobody = "http://127.0.0.1:1"
    assert network.control_plane(nobody).remedy == f"curl -v {nobody}/api/health"


@pytest.mark.parametrize(("behind", "status"), [(0, PASS), (20, WARN), (600, FAIL), (-600, FAIL)])
def test_clocks_are_compared(server: ThreadingHTTPServer, behind: int, status: str) -> None:
    server.RequestHandlerClass.date = format_datetime(  # type: ignore[attr-defined]
        datetime.now(UTC) - timedelta(seconds=behind), usegmt=True
    )
    assert network.clock(_url(server)).status == status


def test_a_certificate_that_this_host_does_not_trust_fails(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in trust.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "30", "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    refused = network.tls(_url(server, "https"))
    assert (refused.status, refused.remedy) == (FAIL, "export KUBIYA_CA_FILE=/path/of/your/ca.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert network.tls(_url(server, "https")).status == PASS


@pytest.mark.parametrize("body", [b"[]", b'"a"', b"null", b"<html>", b""])
def test_what_is_no_control_planes_answer_is_a_failure_with_its_remedy(
    server: ThreadingHTTPServer, body: bytes
) -> None:
    server.RequestHandlerClass.body = body  # type: ignore[attr-defined]
    settings = Settings(queue_id="q", api_key="kby_x", control_plane_url=_url(server))
    for check in (network.api_key, network.queue):
        (found,) = (result.finding for result in examine([Check("it", "test", partial(check, settings))], Report()))
        assert (found.status, found.remedy) == (FAIL, "Is this URL a Kubiya control plane?")
        assert "is not a JSON object" in found.message


@pytest.mark.parametrize("date", ["yesterday", "Thu, 99 Nov 2026 10:00:00 GMT"])
def test_a_time_that_is_none_is_not_compared(server: ThreadingHTTPServer, date: str) -> None:
    server.RequestHandlerClass.date = date  # type: ignore[attr-defined]
    assert network.clock(_url(server)).status == SKIP


def test_plain_http_has_no_certificate() -> None:
    assert network.tls("http://127.0.0.1:1").status == SKIP


def test_a_proxy_is_tried_and_its_password_not_shown(
    server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert network.proxy("http://127.0.0.1").status == PASS
    address = f"127.0.0.1:{server.server_port}"
    for variable in ("http_proxy", "all_proxy"):
        for given in (f"http://user:secret@{address}", f"user:secret@{address}", address):  # a scheme may be left out
            monkeypatch.setenv(variable, given)
            found = network.proxy("http://control-plane.invalid")
            assert (found.status, found.message) == (PASS, f"http://{address} answers"), (variable, given)
        monkeypatch.setenv(variable, "http://proxy:notaport")
        with pytest.raises(ConfigurationError, match=r"is no URL"):
            network.proxy("http://control-plane.invalid")
        monkeypatch.setenv(variable, address)
        assert network.dns("http://control-plane.invalid").status == SKIP
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HTTP_PROXY", address)
    assert network.dns("http://control-plane.invalid").status == SKIP


def test_a_model_endpoint_says_what_it_thinks_of_the_key(server: ThreadingHTTPServer) -> None:
    assert network.model("", "").status == WARN
    assert network.model(_url(server), "sk").status == PASS
    server.RequestHandlerClass.status = 401  # type: ignore[attr-defined]
    assert network.model(_url(server), "sk").remedy == "Check OPENAI_API_KEY or LITELLM_API_KEY"


def test_a_policy_service_that_cannot_be_reached_is_a_failure(server: ThreadingHTTPServer) -> None:
    def look(url: str) -> str:
        return network.policy_service(Settings("q", "key", enforce_enabled=True, enforcer_url=url)).status

    assert look(_url(server)) == PASS
    server.RequestHandlerClass.status = 404  # type: ignore[attr-defined]
    assert look(_url(server)) == WARN
    assert look("http://127.0.0.1:1") == FAIL


@pytest.mark.parametrize(
    ("status", "body", "verdict", "text"),
    [
        (404, b"{}", SKIP, "404"),
        (403, b"{}", SKIP, "403"),
        (200, b"[]", PASS, "0 defined"),
        (200, b'[{"name": "a", "deliveries": {"dead": 0, "waiting": 1, "last_error": null}}]', PASS, "1 defined"),
        (
            200,
            b'[{"name": "on call", "deliveries": {"dead": 0, "waiting": 1, "last_error": "x"}}]',
            WARN,
            "1 waiting: x",
        ),
        (200, b'[{"name": "on call", "deliveries": {"dead": 2, "waiting": 0, "last_error": "y"}}]', WARN, "2 dead"),
    ],
)
def test_a_channel_that_does_not_take_messages_is_told(
    server: ThreadingHTTPServer, status: int, body: bytes, verdict: str, text: str
) -> None:
    handler = server.RequestHandlerClass
    handler.status, handler.body = status, body  # type: ignore[attr-defined]
    found = network.notifications(Settings(control_plane_url=_url(server), api_key="k", queue_id="q"))
    assert found.status == verdict and text in found.message
    assert verdict != WARN or "kubiya notifications test 'on call'" in found.remedy
