"""The skill `docker` beside an engine of recorded answers; with a real one: tests/deploy/test_docker_skill.py."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.tools.base import ToolContext, ToolResult, Toolset
from kubiya_worker.tools.docker import engine, policy
from kubiya_worker.tools.docker.containers import usage
from kubiya_worker.tools.docker.policy import DockerLimits, DockerRefused
from kubiya_worker.tools.toolset import build_toolset
from kubiya_worker.tracing import current, ids
from tests.unit.tools.cases import cases

WEB = {
    "Id": "a" * 64,
    "Name": "/web",
    "Config": {"Image": "nginx:1", "Env": ["PASSWORD=hunter22"], "Labels": None},
    "HostConfig": {"NetworkMode": "default", "PidMode": "", "IpcMode": "private", "CgroupnsMode": "host"},
    "Mounts": [{"Type": "volume", "Name": "data", "Source": "/var/lib/docker/volumes/data/_data"}],
    "State": {"Running": True},
}
LISTED = [
    {"Id": "a" * 64, "Names": ["/web"], "Image": "nginx:1", "Status": "Up 2 hours", "Labels": {}},
    {"Id": "b" * 64, "Names": ["/db"], "Image": "postgres:15", "Status": "Up 2 hours", "Labels": {}},
    {"Id": "c" * 64, "Names": ["/w"], "Image": "worker:1", "Status": "Up", "Labels": {"kubiya.worker": "true"}},
]
ANSWERS: dict[str, Any] = {
    "GET /containers/json": LISTED,
    "GET /containers/web/json": WEB,
    f"GET /containers/{'a' * 64}/json": WEB,
    "GET /containers/db/json": {**WEB, "Name": "/db", "Id": "b" * 64},
    "GET /volumes/data": {"Name": "data", "Driver": "local", "Options": None},
    "GET /networks/lan": {"Name": "lan", "Id": "d" * 64, "Driver": "bridge"},
    "GET /networks/sly": {"Name": "sly", "Id": "e" * 64, "Driver": "host"},
    "GET /networks/other": {"Name": "other", "Id": "f" * 64, "Driver": "bridge"},
    "POST /containers/create": {"Id": "a" * 64},
    f"POST /containers/{'a' * 64}/start": None,
    f"POST /containers/{'a' * 64}/stop": None,
    f"POST /networks/{'d' * 64}/connect": None,
    "POST /volumes/create": {},
}


class Recorded:
    """An engine of few answers. `calls` is what it was asked, the path without its version and query."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, target, _ = head.split("\r\n")[0].split(" ")
                length = next((int(x.split(":")[1]) for x in head.lower().split("\r\n") if "content-length" in x), 0)
                body = await reader.readexactly(length)
                path = target.partition("?")[0].removeprefix("/v1.41")
                self.calls.append((f"{method} {path}", json.loads(body) if body else None))
                status, answer = 200, ANSWERS.get(f"{method} {path}", "absent")
                if path == "/_ping":
                    answer = "OK"
                elif answer == "absent":
                    status, answer = 404, {"message": f"no such thing: {path}"}
                written = json.dumps(answer).encode() if answer is not None else b""
                writer.write(
                    f"HTTP/1.1 {status} X\r\nApi-Version: 1.41\r\nContent-Length: {len(written)}\r\n\r\n".encode()
                    + written
                )
                await writer.drain()
        writer.close()

    def changes(self) -> list[tuple[str, Any]]:
        return [call for call in self.calls if not call[0].startswith("GET ")]


@pytest.fixture
async def recorded(tmp_path: Path) -> AsyncIterator[Recorded]:
    engine = Recorded()
    async with await asyncio.start_unix_server(engine.serve, path=tmp_path / "docker.sock"):
        yield engine


def toolset(tmp_path: Path, **configuration: Any) -> Toolset:
    given = {"docker_host": f"unix://{tmp_path}/docker.sock", **configuration}
    return build_toolset([{"name": "ops", "type": "docker", "configuration": given}], workspace=tmp_path)


async def call(tmp_path: Path, tool: str, arguments: dict[str, Any], **configuration: Any) -> ToolResult:
    everything = {"enable_volume_management": True, "enable_network_management": True, **configuration}
    found = toolset(tmp_path, **everything).get(tool)
    assert found is not None
    return await found.run(arguments, ToolContext("e1", "c1", tmp_path))


def names(tmp_path: Path, **configuration: Any) -> set[str]:
    return {spec.name for spec in toolset(tmp_path, **configuration).specs}


def test_each_switch_gives_or_takes_its_tools(tmp_path: Path) -> None:
    both = names(tmp_path)
    assert {"list_containers", "run_container", "list_images"} <= both
    assert not {"list_volumes", "list_networks"} & both
    assert names(tmp_path, enable_container_management=False, enable_image_management=False) == set()
    assert names(tmp_path, enable_volume_management=True) - both == {
        *("list_volumes", "inspect_volume", "create_volume", "remove_volume")
    }
    assert names(tmp_path, read_only=True) == {
        *("list_containers", "inspect_container", "get_container_logs", "container_stats"),
        *("list_images", "inspect_image"),
    }
    assert names(tmp_path, allowed_operations=["list_images"]) == {"list_images"}


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"allowed_operations": ["list_volumes"]}, "'list_volumes' is none of list_containers"),
        ({"read_only": True, "allowed_operations": ["run_container"]}, "'run_container' is none of"),
        ({"docker_host": "ssh://root@host"}, "unix:///path/of/docker.sock or tcp://host:port"),
        ({"docker_host": "unix://relative"}, "unix:///path/of/docker.sock"),
        ({"allowed_host_paths": ["data"]}, "a list of absolute paths"),
        ({"allowed_host_paths": ["/data/../etc"]}, "a list of absolute paths"),
        ({"published_address": "everywhere"}, "an IP address"),
        ({"timeout": 0}, "from 1 to 3600"),
        ({"max_memory": "much"}, "10MB"),
        ({"allow_privileged": "no"}, "true or false"),
        ({"enable_containers": True}, "unknown configuration key `enable_containers`"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(configuration: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        toolset(tmp_path, **configuration)
    assert message in caught.value.line() and "'ops'" in caught.value.line()


def test_reads_are_low_and_repeatable_and_all_else_is_neither(tmp_path: Path) -> None:
    specs = toolset(tmp_path, enable_volume_management=True, enable_network_management=True).specs
    reads = {spec.name for spec in specs if spec.risk == "low"}
    assert reads == {
        *("list_containers", "inspect_container", "get_container_logs", "container_stats", "list_images"),
        *("inspect_image", "list_volumes", "inspect_volume", "list_networks", "inspect_network"),
    }
    for spec in specs:
        assert spec.idempotent == (spec.name in reads) and bool(spec.effects) != (spec.name in reads), spec.name
        assert spec.risk in ("low", "high")
    strong = toolset(tmp_path, allow_privileged=True).specs
    assert {spec.name for spec in strong if spec.risk == "critical"} == {"run_container", "exec_in_container"}


def test_what_is_not_allowed_is_not_offered(tmp_path: Path) -> None:
    def offered(**configuration: Any) -> set[str]:
        spec = next(spec for spec in toolset(tmp_path, **configuration).specs if spec.name == "run_container")
        return set(spec.parameters["properties"])

    assert not {"privileged", "host_processes"} & offered()
    assert "privileged" in offered(allow_privileged=True)
    assert "host_processes" in offered(allow_host_namespaces=True)


async def test_a_list_has_what_may_be_seen(recorded: Recorded, tmp_path: Path) -> None:
    assert (await call(tmp_path, "list_containers", {})).output.split("\n")[1:] == [
        "web\tnginx:1\tUp 2 hours\t\taaaaaaaaaaaa",
        "db\tpostgres:15\tUp 2 hours\t\tbbbbbbbbbbbb",
    ]
    assert "db" not in (await call(tmp_path, "list_containers", {}, allowed_containers=["w*"])).output


async def test_a_container_goes_by_the_name_that_the_engine_says(recorded: Recorded, tmp_path: Path) -> None:
    assert (await call(tmp_path, "stop_container", {"container": "web"}, allowed_containers=["web"])).error is None
    assert recorded.changes() == [(f"POST /containers/{'a' * 64}/stop", None)]
    refused = await call(tmp_path, "stop_container", {"container": "db"}, allowed_containers=["web"])
    assert refused.error == "The container db is not one of `allowed_containers` (web)"


@pytest.mark.parametrize("name", ["../images/json", "web/../db", "web?force=1", "", "web%2f..", "-x", "a" * 200])
async def test_a_name_is_never_more_than_a_name(name: str, recorded: Recorded, tmp_path: Path) -> None:
    refused = await call(tmp_path, "remove_container", {"container": name})
    assert refused.metadata == {"refused": True} and [path for path, _ in recorded.calls] == ["GET /_ping"]


RUN = {"image": "nginx:1", "background": True}


@pytest.mark.parametrize(
    ("arguments", "configuration", "message"),
    [
        ({"image": "evil:1"}, {"allowed_images": ["nginx"]}, "The image evil:1 is not one of `allowed_images` (nginx)"),
        ({"privileged": True}, {}, "(`allow_privileged`)"),
        ({"host_processes": True}, {}, "(`allow_host_namespaces`)"),
        ({"network": "host"}, {}, "(`allow_host_namespaces`)"),
        ({"network": "sly"}, {"allow_host_namespaces": True}, "asked for by its name"),
        ({"network": "container:db"}, {}, "is no name of a network"),
        ({"network": "other"}, {"allowed_networks": ["lan"]}, "The network other is not one of `allowed_networks`"),
        ({"mounts": [{"source": "/etc", "target": "/mnt"}]}, {}, "/etc of the host is not in one of"),
        ({"mounts": [{"source": "/data2", "target": "/m"}]}, {"allowed_host_paths": ["/data"]}, "(/data)"),
        ({"mounts": [{"source": "secrets", "target": "/m"}]}, {"allowed_volumes": ["data"]}, "The volume secrets is"),
        ({"mounts": [{"source": "~/x", "target": "/m"}]}, {}, "is no name of a volume"),
        ({"name": "web2"}, {"allowed_containers": ["job-*"]}, "The container web2 is not one of"),
        ({}, {"allowed_containers": ["job-*"]}, "Give a `name`"),
        ({"ports": {"80:80": 1}}, {}, "is no port"),
        ({"ports": {"0": 1}}, {}, "is no port"),
        ({"environment": {"A=B": "c"}}, {}, "is no name of a variable"),
    ],
)
async def test_runs_that_are_refused_change_nothing(
    arguments: dict[str, Any], configuration: dict[str, Any], message: str, recorded: Recorded, tmp_path: Path
) -> None:
    refused = await call(tmp_path, "run_container", {**RUN, **arguments}, **configuration)
    assert refused.metadata == {"refused": True} and message in refused.output
    assert recorded.changes() == []


async def test_what_the_engine_is_told_of_a_container(recorded: Recorded, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    arguments = {
        **RUN,
        "command": ["true"],
        "network": "lan",
        "ports": {"80": 8080, "53/udp": 0},
        "mounts": [
            {"source": f"{tmp_path}/open/.", "target": "/m"},
            {"source": "new", "target": "/n", "read_only": True},
        ],
        "environment": {"A": "b=c"},
        "memory_mb": 64,
    }
    done = await call(tmp_path, "run_container", arguments, allowed_host_paths=[str(tmp_path)])
    assert done.error is None, done
    (path, body), (started, _) = recorded.changes()
    assert (path, started) == ("POST /containers/create", f"POST /containers/{'a' * 64}/start")
    assert body == {
        "Image": "nginx:1",
        "Cmd": ["true"],
        "Env": ["A=b=c"],
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Labels": {"kubiya.tool-call": "e1/c1", "kubiya.execution-id": "e1"},
        "HostConfig": {
            "NetworkMode": "d" * 64,
            "Mounts": [
                {"Type": "bind", "Source": os.path.realpath(tmp_path / "open"), "Target": "/m", "ReadOnly": False},
                {"Type": "volume", "Source": "new", "Target": "/n", "ReadOnly": True},
            ],
            "PortBindings": {
                "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}],
                "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "0"}],
            },
            "Memory": 64 << 20,
            "PidsLimit": 1024,
            "Privileged": False,
            "SecurityOpt": ["no-new-privileges"],
        },
    }


async def test_a_container_learns_of_the_trace_of_its_call_unless_it_is_given_one(
    recorded: Recorded, tmp_path: Path
) -> None:
    trace = ids.trace_of("e1", 1, None, None, 1.0)
    token = current.STEP.set(current.Step(7, lambda: trace, "w1", to_models=False))
    try:
        for environment in ({}, {"A": "b"}, {"TRACEPARENT": "own"}):
            await call(tmp_path, "run_container", {**RUN, "environment": environment})
    finally:
        current.STEP.reset(token)
    await call(tmp_path, "run_container", RUN)
    told = f"TRACEPARENT={trace.traceparent(7)}"
    created = [body.get("Env") for path, body in recorded.changes() if path.endswith("/create")]
    assert created == [[told], [told, "A=b"], ["TRACEPARENT=own"], None]


async def test_memory_is_never_over_what_is_allowed(recorded: Recorded, tmp_path: Path) -> None:
    for asked in ({}, {"memory_mb": 4096}):
        await call(tmp_path, "run_container", {**RUN, **asked}, max_memory="512MB")
        created = [body for path, body in recorded.changes() if path.endswith("/create")]
        assert created[-1]["HostConfig"]["Memory"] == 512 << 20


async def test_a_volume_has_no_options(recorded: Recorded, tmp_path: Path) -> None:
    await call(tmp_path, "create_volume", {"volume": "new"})
    assert recorded.changes()[0][1] == {"Name": "new", "Driver": "local", "Labels": {"kubiya.execution-id": "e1"}}


async def test_values_of_variables_are_not_shown(recorded: Recorded, tmp_path: Path) -> None:
    shown = (await call(tmp_path, "inspect_container", {"container": "web"})).output
    assert "PASSWORD" in shown and "hunter22" not in shown


async def test_networks_are_joined_by_their_ids(recorded: Recorded, tmp_path: Path) -> None:
    both = {"network": "lan", "container": "web"}
    done = await call(tmp_path, "connect_container_to_network", both, allowed_networks=["lan"])
    assert done.output == "Connected web to lan."
    assert recorded.changes() == [(f"POST /networks/{'d' * 64}/connect", {"Container": "a" * 64})]


async def test_what_the_engine_refuses_is_said_in_one_line(recorded: Recorded, tmp_path: Path) -> None:
    done = await call(tmp_path, "get_container_logs", {"container": "gone"})
    assert done.output == "The Docker engine refused: no such thing: /containers/gone/json."


async def test_no_engine_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    done = await call(tmp_path, "list_containers", {})
    assert done.error and done.error.startswith(f"No Docker engine answers at unix://{tmp_path}/docker.sock. Remedy: ")
    assert "\n" not in done.error and done.metadata.get("refused") is None


def test_no_permission_is_another(tmp_path: Path) -> None:
    try:
        try:
            raise PermissionError(13, "Permission denied")
        except PermissionError as cause:
            raise RuntimeError("connection failed") from cause
    except RuntimeError as error:
        said = str(engine._unreachable(error, engine.EngineAddress.parse("unix:///run/docker.sock", {})))
    assert "may not use the Docker engine at unix:///run/docker.sock. Remedy: add its user to the group docker" in said


async def test_an_engine_that_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CONNECT", 0.3)

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_unix_server(listen, path=tmp_path / "docker.sock"):
        done = await call(tmp_path, "list_containers", {})
    assert "does not answer" in (done.error or "")


@pytest.mark.parametrize("cut", [1, 3, 8, 9, 100])
async def test_frames_are_put_together_however_they_come(cut: int) -> None:
    wire = b"\x01\0\0\0\0\0\0\x05hello\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x06 world"

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(wire), cut):
            yield wire[at : at + cut]

    assert b"".join([piece async for piece in engine.frames(chunks())]) == b"hello world"


@pytest.mark.parametrize(
    ("url", "environ", "base"),
    [
        ("tcp://10.0.0.1", {}, "http://10.0.0.1:2375"),
        ("tcp://engine:2376", {"DOCKER_TLS_VERIFY": "1"}, "https://engine:2376"),
        ("tcp://[::1]:2375", {}, "http://[::1]:2375"),
        ("https://engine", {}, "https://engine:2376"),
    ],
)
def test_an_address_of_another_host_has_its_scheme_and_port(url: str, environ: dict[str, str], base: str) -> None:
    found = engine.EngineAddress.parse(url, environ)
    assert (found.base, found.local) == (base, False)


def _images(name: str) -> list[list[str]]:
    return [line.split(" ") for line in cases(name)]


@pytest.mark.parametrize(("pattern", "image"), _images("docker_images_refused.txt"))
def test_images_that_a_pattern_does_not_allow(pattern: str, image: str) -> None:
    with pytest.raises(DockerRefused):
        policy.image(DockerLimits(images=(pattern,)), image)


@pytest.mark.parametrize(("pattern", "image"), _images("docker_images_allowed.txt"))
def test_images_that_a_pattern_allows(pattern: str, image: str) -> None:
    assert policy.image(DockerLimits(images=(pattern,)), image)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"HostConfig": {"Privileged": True}}, "it is privileged"),
        ({"HostConfig": {"CapAdd": ["CAP_SYS_PTRACE"]}}, "CAP_SYS_PTRACE"),
        ({"HostConfig": {"Devices": [{"PathOnHost": "/dev/sda"}]}}, "devices"),
        ({"HostConfig": {"DeviceRequests": [{"Driver": "nvidia"}]}}, "devices"),
        ({"HostConfig": {"SecurityOpt": ["apparmor=unconfined"]}}, "confinement"),
        ({"HostConfig": {"SecurityOpt": ["label=disable"]}}, "confinement"),
        ({"HostConfig": {"NetworkMode": "host"}}, "network"),
        ({"HostConfig": {"PidMode": "host"}}, "processes"),
        ({"HostConfig": {"PidMode": f"container:{'b' * 64}"}}, "of another"),
        ({"HostConfig": {"UTSMode": "host"}}, "host name"),
        ({"HostConfig": {"UsernsMode": "host"}}, "users"),
        ({"Mounts": [{"Type": "bind", "Source": "/var/run/docker.sock"}]}, "docker.sock"),
        ({"Mounts": [{"Type": "volume", "Name": "sly"}]}, "/etc"),
    ],
)
def test_what_reaches_the_host_is_seen(change: dict[str, Any], reason: str) -> None:
    bound = {"type": "none", "o": "bind", "device": "/etc"}
    volumes: dict[str, dict[str, Any]] = {"data": {"Options": None}, "sly": {"Options": bound}}
    assert policy.reach(DockerLimits(), WEB, volumes) == []
    (said,) = policy.reach(DockerLimits(local=False), {**WEB, **change}, volumes)
    assert reason in said
    allowing = DockerLimits(privileged=True, host_namespaces=True, host_paths=("/",), local=False)
    assert policy.reach(allowing, {**WEB, **change}, volumes) == []


def test_usage_is_what_docker_stats_shows() -> None:
    raw = {
        "cpu_stats": {"cpu_usage": {"total_usage": 3_000}, "system_cpu_usage": 20_000, "online_cpus": 4},
        "precpu_stats": {"cpu_usage": {"total_usage": 1_000}, "system_cpu_usage": 10_000},
        "memory_stats": {"usage": 52_000_000, "limit": 2_000_000_000, "stats": {"inactive_file": 2_000_000}},
        "networks": {"eth0": {"rx_bytes": 1_500, "tx_bytes": 10}, "eth1": {"rx_bytes": 500, "tx_bytes": 0}},
        "pids_stats": {"current": 7},
    }
    assert usage(raw) == {
        "cpu_percent": 80.0,
        "memory": "50 MB",
        "memory_limit": "2.0 GB",
        "received": "2 kB",
        "sent": "10 B",
        "processes": 7,
    }
