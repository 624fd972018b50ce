"""TLS to Temporal: a server that is not local is spoken to in TLS only, with a key or with client certificates.

The real Temporal stands behind a listener that ends TLS, as a load balancer does; what arrives there is looked at.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from kubiya_worker.temporal_connection.faults import PREFACE
from tests.process.worker.conftest import Start
from tests.support.certificates import Certificates, Terminator
from tests.support.scripted_plane import ScriptedPlane
from tests.support.stack import Stack, free_port

TEMPORAL_KEY = "temporal-key-of-the-tests"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def sniffer() -> Iterator[tuple[str, list[bytes]]]:
    """A listener under an address that is not local, and the first bytes of what connects to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; says which address this host has
            host = probe.getsockname()[0]
        except OSError:  # no way out of here
            host = "127.0.0.1"
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
        assert "tls=True" in line and "is no gRPC server, not Temporal" in line
        worker.expect("temporal.unreachable")
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
    # A TLS handshake record, or the preface of HTTP/2 by which the worker looks what kind of server it is.
    assert heads and all(head[:2] == b"\x16\x03" or head == PREFACE for head in heads if head), heads
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
            line = without.expect("temporal.unreachable")
            assert "asks for a client certificate" in line and "TEMPORAL_TLS_CERT" in line
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
            line = worker.expect("temporal.unreachable")
            assert "is not trusted by" in line and "TEMPORAL_TLS_CA" in line
            worker.signal(signal.SIGTERM)
            assert worker.wait() == 0
        assert not terminator.accepted
    finally:
        terminator.close()


def test_a_control_plane_speaks_tls_and_tells_its_workers_how(
    start: Start, stack: Stack, certificates: Certificates, tmp_path: Path
) -> None:
    """It has a client certificate and a key that a file holds; the worker knows of the control plane only."""
    inner = Terminator(certificates, stack.temporal_address, client=True)
    outer = Terminator(certificates, stack.temporal_address)
    key_file, port = tmp_path / "temporal.key", free_port()
    key_file.write_text(f"{TEMPORAL_KEY}\n")
    argv = [sys.executable, "-m", "kubiya_worker.server", "--port", str(port), "--seed"]
    argv += ["--database", str(tmp_path / "cp.db"), "--key-file", str(tmp_path / "key")]
    server = stack.start(
        [
            *argv,
            "--temporal-address",
            f"localhost:{inner.port}",
            "--worker-temporal-address",
            f"localhost:{outer.port}",
        ],
        {
            "TEMPORAL_TLS_CA": str(certificates.ca),
            "TEMPORAL_TLS_CERT": str(certificates.client),
            "TEMPORAL_TLS_KEY": str(certificates.client.with_suffix(".key")),
            "TEMPORAL_API_KEY_FILE": str(key_file),
        },
    )
    try:
        server.expect("control_plane.listening")
        url = f"http://127.0.0.1:{port}"
        login = {"Authorization": f"Bearer {(tmp_path / 'key').read_text().strip()}"}
        worker = start(url, KUBIYA_API_KEY=login["Authorization"].removeprefix("Bearer "))
        worker.expect("worker.ready")
        body = {"prompt": "hello", "worker_queue_id": "default"}
        made = requests.post(f"{url}/api/v1/agents/ops/execute", json=body, headers=login, timeout=30).json()
        execution = f"{url}/api/v1/executions/{made['execution_id']}"
        with requests.get(f"{execution}/stream", headers=login, stream=True, timeout=60) as stream:
            assert any(line.startswith(b"event: done") for line in stream.iter_lines())
        assert requests.get(execution, headers=login, timeout=30).json()["status"] == "completed"
        assert inner.accepted and outer.accepted and not inner.refused
        lines = "\n".join([*worker.lines, *server.lines])
        assert TEMPORAL_KEY not in lines
    finally:
        server.kill()
        inner.close()
        outer.close()


def test_a_control_plane_says_what_keeps_it_from_temporal(
    stack: Stack, certificates: Certificates, tmp_path: Path
) -> None:
    terminator, port = Terminator(certificates, stack.temporal_address), free_port()
    argv = [sys.executable, "-m", "kubiya_worker.server", "--port", str(port), "--database", str(tmp_path / "cp.db")]
    server = stack.start([*argv, "--temporal-address", f"localhost:{terminator.port}"])
    try:
        line = server.expect("temporal.unreachable")
        assert "speaks TLS, and is asked in plain text. Set TEMPORAL_TLS=true" in line
        ready = requests.get(f"http://127.0.0.1:{port}/api/ready", timeout=30)
        assert ready.status_code == 503 and "Set TEMPORAL_TLS=true" in ready.json()["reason"]
    finally:
        server.kill()
        terminator.close()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"TEMPORAL_TLS": "maybe"}, "TEMPORAL_TLS 'maybe' is not true or false"),
        ({"TEMPORAL_TLS_CERT": "x.pem"}, "Set both TEMPORAL_TLS_CERT and TEMPORAL_TLS_KEY"),
        ({"TEMPORAL_TLS_CA": "/no/such.pem"}, "A TLS file cannot be read"),
        ({"TEMPORAL_API_KEY_FILE": "/no/such.key"}, "TEMPORAL_API_KEY_FILE /no/such.key cannot be read"),
    ],
)
def test_a_control_plane_with_a_wrong_setting_does_not_start(given: dict[str, str], said: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "kubiya_worker.server", "--port", "0", "--database", str(tmp_path / "cp.db")]
    done = subprocess.run(
        argv, env={**os.environ, "HOME": str(tmp_path), **given}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode in (64, 78) and said in done.stdout + done.stderr
