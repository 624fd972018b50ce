"""A network as companies have them: out through one HTTP proxy only, and all certificates of a CA of its own.

Every client of a worker is to get through: control plane, Temporal, model, policy service, MCP; and `kubiya doctor`.
The names resolve nowhere, so that what does not ask the proxy fails.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kubiya_worker import trust
from kubiya_worker.tools import mcp
from kubiya_worker.tools.mcp.pool import SessionPool
from tests.process.worker.conftest import Start
from tests.support.certificates import Certificates, Terminator
from tests.support.enforcer import EnforcerService
from tests.support.model_endpoint import ModelEndpoint
from tests.support.proxy import Proxy
from tests.support.stack import BIN, Stack, wait_until

NONE = dict.fromkeys((*trust.VARIABLES, "SSL_CERT_DIR"), "")  # this host's own
HOSTS = ("cp.test", "temporal.test", "model.test", "policy.test", "mcp.test")


class Network:
    """Each of the hosts behind TLS of the CA, and a proxy that leads to them."""

    def __init__(self, folder: Path, targets: dict[str, str]) -> None:
        self.certificates = Certificates(folder, *HOSTS)
        self.ends = {
            host: Terminator(self.certificates, target, alpn="h2" if host == "temporal.test" else "http/1.1")
            for host, target in targets.items()
        }
        self.proxy = Proxy(ports={host: end.port for host, end in self.ends.items()})

    @property
    def variables(self) -> dict[str, str]:
        address = f"http://127.0.0.1:{self.proxy.port}"
        return {**NONE, "HTTPS_PROXY": address, "https_proxy": address, "NO_PROXY": "", "no_proxy": ""}

    def close(self) -> None:
        self.proxy.close()
        for end in self.ends.values():
            end.close()


@pytest.fixture
def model() -> Iterator[ModelEndpoint]:
    with ModelEndpoint([{"tools": [{"name": "shell", "arguments": {"command": "echo out"}}]}, {"text": "done"}]) as one:
        yield one


@pytest.fixture
def policy() -> Iterator[EnforcerService]:
    with EnforcerService() as service:
        yield service


@pytest.fixture
def network(tmp_path: Path, stack: Stack, model: ModelEndpoint, policy: EnforcerService) -> Iterator[Network]:
    folder = tmp_path / "certificates"
    folder.mkdir()
    plane, endpoint, enforcer = (urlsplit(url).netloc for url in (stack.url, model.url, policy.url))
    targets = {"cp.test": plane, "temporal.test": stack.temporal_address, "model.test": endpoint}
    made = Network(folder, {**targets, "policy.test": enforcer, "mcp.test": endpoint})
    yield made
    made.close()


# Each of the names by which the file may be given, and that of the worker's own.
@pytest.mark.parametrize(
    "variable",
    [
        "KUBIYA_CA_FILE",
        pytest.param("SSL_CERT_FILE", marks=pytest.mark.slow),
        pytest.param("REQUESTS_CA_BUNDLE", marks=pytest.mark.slow),
    ],
)
def test_a_worker_does_its_work(
    variable: str, start: Start, stack: Stack, network: Network, model: ModelEndpoint, policy: EnforcerService
) -> None:
    model.script = [{"tools": [{"name": "shell", "arguments": {"command": "echo out"}}]}, {"text": "done"}]
    worker = start(
        "https://cp.test",
        **{**network.variables, variable: str(network.certificates.ca)},
        KUBIYA_API_KEY=stack.key,
        TEMPORAL_HOST="temporal.test:7233",
        OPENAI_BASE_URL="https://model.test/v1",
        OPENAI_API_KEY="sk-test",
        KUBIYA_ENFORCE_ENABLED="true",
        ENFORCER_SERVICE_URL="https://policy.test",
    )
    worker.expect("worker.ready")
    agent = stack.agent(f"far-{variable}", skills=[{"name": "shell", "type": "shell"}], model_id="gpt-test")
    ended = stack.wait(stack.execute("say out", agent=agent))
    assert (ended["status"], len(policy.questions)) == ("completed", 1), ended
    assert network.proxy.hosts == {"cp.test", "temporal.test", "model.test", "policy.test"}
    assert not any(end.refused for end in network.ends.values())


def test_without_the_ca_nothing_is_trusted(start: Start, stack: Stack, network: Network) -> None:
    worker = start("https://cp.test", **network.variables, KUBIYA_API_KEY=stack.key)
    assert "certificate" in worker.expect("cannot be reached").lower()
    wait_until(lambda: network.ends["cp.test"].refused, 30, "the handshake is over")
    assert not network.ends["cp.test"].accepted


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot be read: No such file"), ("no certificate", "holds no certificates")]
)
def test_a_ca_file_that_is_none_ends_the_start(content: str | None, said: str, start: Start, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    worker = start("https://cp.test", KUBIYA_CA_FILE=str(file))
    assert worker.wait() == 78
    assert f"The CA file {file} {said}" in worker.lines[-1]


def test_mcp_goes_the_same_way(network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {**network.variables, "SSL_CERT_FILE": str(network.certificates.ca)}.items():
        monkeypatch.setenv(name, value)

    async def discover() -> list[str]:
        pool = SessionPool()
        try:
            parsed = mcp.parse({"far": {"transport_type": "http", "url": "https://mcp.test/mcp"}})
            return (await mcp.discover(parsed, pool, {}, tmp_path, [])).faults
        finally:
            await pool.close()

    assert asyncio.run(discover())  # what answers there is no MCP server
    assert network.proxy.hosts == {"mcp.test"}
    assert network.ends["mcp.test"].accepted and not network.ends["mcp.test"].refused


def test_the_doctor_sees_what_the_worker_sees(stack: Stack, network: Network, tmp_path: Path) -> None:
    def told(**variables: str) -> dict[str, str]:
        run = subprocess.run(
            [BIN / "kubiya", "doctor", "--json", "--queue-id", "default"],
            env={
                "PATH": str(BIN),
                "HOME": str(tmp_path),
                "KUBIYA_API_KEY": stack.key,
                "CONTROL_PLANE_URL": "https://cp.test",
                "TEMPORAL_HOST": "temporal.test:7233",
                **network.variables,
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert run.stdout, run.stderr
        checks = json.loads(run.stdout)["checks"]
        return {check["name"]: f"{check['status']}: {check['message']}" for check in checks}

    good = told(KUBIYA_CA_FILE=str(network.certificates.ca))
    for name in ("proxy", "health", "api key", "queue", "registration", "poll"):
        assert good[name].startswith("pass"), (name, good)
    assert good["tls"].startswith("warning: TLSv1.3, the certificate is good for 1 days"), good["tls"]
    bad = told()
    assert bad["tls"].startswith("fail: cp.test: ") and bad["health"].startswith("fail"), bad
