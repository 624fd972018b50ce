"""The skill `docker` with a real engine: what it does, what it refuses, what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.tools.base import ToolContext, ToolResult
from kubiya_worker.tools.docker import run
from kubiya_worker.tools.toolset import build_toolset
from tests.deploy import engine
from tests.support.dev import Dev

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

IMAGE = "kubiya-test/busybox:1"
ALL = {"enable_volume_management": True, "enable_network_management": True}
SLEEPER = ["sleep", "300"]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with engine.engine() as address:
        if shutil.which("busybox") is None:
            engine.install("busybox-static")
        busybox = shutil.which("busybox")
        assert busybox
        root = tmp_path_factory.mktemp("root")
        for folder in ("bin", "tmp"):
            (root / folder).mkdir()
        shutil.copy(busybox, root / "bin" / "busybox")
        for name in ("sh", "sleep", "echo", "cat", "id", "seq", "env", "touch", "ls"):
            (root / "bin" / name).symlink_to("busybox")
        archive = root.parent / "image.tar"
        subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
        engine.docker(address, "import", str(archive), IMAGE)
        yield address


@pytest.fixture(autouse=True)
def clean(host: str) -> Iterator[None]:
    yield
    engine.remove_containers(host)
    engine.docker(host, "volume", "prune", "-f")


class Agent:
    """Calls tools as an execution does."""

    def __init__(self, host: str, workspace: Path, **configuration: Any) -> None:
        skill = {"name": "docker", "type": "docker", "configuration": {"docker_host": host, **ALL, **configuration}}
        self.tools = build_toolset([skill], workspace=workspace)
        self.context = ToolContext("e1", "c1", workspace)

    async def __call__(self, tool: str, **arguments: Any) -> ToolResult:
        found = self.tools.get(tool)
        assert found is not None, tool
        return await found.run(arguments, self.context)


@pytest.fixture
def agent(host: str, tmp_path: Path) -> Agent:
    return Agent(host, tmp_path)


def containers(host: str) -> list[str]:
    return engine.docker(host, "ps", "-a", "--format", "{{.Names}}").stdout.split()


def by_hand(host: str, name: str, *options: str) -> None:
    engine.docker(host, "run", "-d", "--name", name, "--network", "none", *options, IMAGE, *SLEEPER)


async def test_a_program_is_run_to_its_end_and_its_container_removed(agent: Agent, host: str) -> None:
    command = ["sh", "-c", "echo out; echo err >&2; echo $GREETING; exit 3"]
    done = await agent("run_container", image=IMAGE, command=command, environment={"GREETING": "hi"})
    assert sorted(done.output.split("\n")[:3]) == ["err", "hi", "out"]
    assert done.error == "exit code 3" and done.metadata["exit_code"] == 3
    assert containers(host) == []


async def test_long_output_is_capped_and_the_whole_of_it_is_counted(agent: Agent, host: str) -> None:
    done = await agent("run_container", image=IMAGE, command=["seq", "1", "30000"])
    assert len(done.output) < agent.context.keep_limit + 200
    assert done.output.startswith("1\n2\n") and done.output.endswith("30000\n") and "left out" in done.output
    assert done.metadata["output_bytes"] == 168_894


async def test_a_container_is_confined_limited_and_labelled(agent: Agent, host: str) -> None:
    done = await agent("run_container", image=IMAGE, command=SLEEPER, name="web", background=True, ports={"80": 0})
    assert done.error is None and containers(host) == ["web"]
    form = "{{.HostConfig.Privileged}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Memory}} {{.HostConfig.PortBindings}}"
    shown = engine.docker(host, "inspect", "web", "-f", form).stdout
    assert shown.strip() == f"false [no-new-privileges] {2 << 30} map[80/tcp:[{{127.0.0.1 0}}]]"


async def test_the_life_of_a_container(agent: Agent, host: str) -> None:
    command = ["sh", "-c", "echo begun; sleep 300"]
    await agent("run_container", image=IMAGE, command=command, name="web", background=True)
    assert "web\t" in (await agent("list_containers")).output
    while "begun" not in (await agent("get_container_logs", container="web")).output:
        await asyncio.sleep(0.05)
    assert (await agent("exec_in_container", container="web", command=["echo", "inside"])).output == "inside\n"
    assert (await agent("exec_in_container", container="web", command=["sh", "-c", "exit 4"])).error == "exit code 4"
    assert '"Running": true' in (await agent("inspect_container", container="web")).output
    measured = await agent("container_stats", container="web")  # not every host has figures
    assert '"cpu_percent": ' in measured.output or "no figures" in (measured.error or "")
    assert (await agent("restart_container", container="web", seconds=0)).error is None
    assert (await agent("stop_container", container="web", seconds=0)).output == "Stopped web."
    assert (await agent("list_containers")).output == "No containers."
    assert "web\t" in (await agent("list_containers", all=True)).output
    assert "does not run" in ((await agent("container_stats", container="web")).error or "")
    assert (await agent("start_container", container="web")).error is None
    assert (await agent("remove_container", container="web", force=True)).output == "Removed web."
    assert "No such container: web" in ((await agent("inspect_container", container="web")).error or "")


async def test_inspect_names_variables_and_hides_their_values(agent: Agent, host: str) -> None:
    by_hand(host, "db", "-e", "PASSWORD=hunter22")
    shown = (await agent("inspect_container", container="db")).output
    assert "PASSWORD" in shown and "hunter22" not in shown


async def test_a_run_that_takes_too_long_is_removed(agent: Agent, host: str) -> None:
    done = await agent("run_container", image=IMAGE, command=["sh", "-c", "echo begun; sleep 300"], timeout=2)
    assert done.output == "begun\n[timed out after 2 seconds, and was removed]\n"
    assert containers(host) == []


async def test_a_run_that_is_cancelled_is_removed_before_the_call_ends(agent: Agent, host: str) -> None:
    running = asyncio.create_task(agent("run_container", image=IMAGE, command=SLEEPER))
    while not await asyncio.to_thread(containers, host):
        await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert containers(host) == []


async def test_what_a_killed_worker_left_is_removed_by_the_next_run(agent: Agent, host: str) -> None:
    by_hand(host, "left", "--label", f"{run.DEADLINE_LABEL}={int(time.time()) - 1}")
    by_hand(host, "waited-for", "--label", f"{run.DEADLINE_LABEL}={int(time.time()) + 100}")
    by_hand(host, "anothers")
    await agent("run_container", image=IMAGE, command=["id"])
    assert sorted(containers(host)) == ["anothers", "waited-for"]


async def test_out_of_memory_is_told(agent: Agent, host: str) -> None:
    command = ["sh", "-c", "a=x; while :; do a=$a$a; done"]
    done = await agent("run_container", image=IMAGE, command=command, memory_mb=16)
    assert done.error in ("it ran out of memory", "exit code 137 (killed)")  # not every kernel says why


async def test_an_exec_that_takes_too_long_says_that_it_may_go_on(agent: Agent, host: str) -> None:
    by_hand(host, "web")
    done = await agent("exec_in_container", container="web", command=SLEEPER, timeout=1)
    assert done.error == "timed out after 1 seconds; it may still run in the container"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--privileged"], "it is privileged"),
        (["--cap-add", "SYS_ADMIN"], "SYS_ADMIN)"),
        (["--security-opt", "seccomp=unconfined"], "confinement is switched off"),
        (["--pid", "host"], "it has the host's processes"),
        (["--ipc", "host"], "it has the host's IPC"),
        (["-v", "/etc:/mnt"], "it has /etc of the host mounted"),
        (["--device", "/dev/null:/dev/mine"], "devices of the host"),
        (["-v", "stands-for-etc:/mnt"], "it has /etc of the host mounted"),
    ],
)
async def test_no_program_is_run_in_a_container_that_reaches_the_host(
    agent: Agent, host: str, options: list[str], reason: str
) -> None:
    if options[-1].startswith("stands-for-etc"):
        bind = ["--opt", "type=none", "--opt", "o=bind", "--opt", "device=/etc", "stands-for-etc"]
        engine.docker(host, "volume", "create", *bind)
    engine.docker(host, "create", "--name", "strong", *options, IMAGE, *SLEEPER)
    refused = await agent("exec_in_container", container="strong", command=["id"])
    assert refused.metadata == {"refused": True} and reason in refused.output


async def test_a_container_of_the_worker_is_neither_seen_nor_touched(agent: Agent, host: str) -> None:
    by_hand(host, "kubiya-worker-q", "--label", "kubiya.worker=true", "-v", "keys:/run/kubiya")
    assert (await agent("list_containers")).output == "No containers."
    for tool in ("inspect_container", "get_container_logs", "stop_container", "remove_container", "container_stats"):
        assert "one of the worker's own" in (await agent(tool, container="kubiya-worker-q")).output
    command = ["cat", "/run/kubiya/KUBIYA_API_KEY"]
    assert "worker's own" in (await agent("exec_in_container", container="kubiya-worker-q", command=command)).output
    mounts = [{"source": "keys", "target": "/mnt"}]
    assert "worker's own" in (await agent("run_container", image=IMAGE, command=["id"], mounts=mounts)).output


async def test_volumes_that_stand_for_a_folder_of_the_host_are_not_mounted(agent: Agent, host: str) -> None:
    options = ["--opt", "type=none", "--opt", "o=bind", "--opt", "device=/etc"]
    engine.docker(host, "volume", "create", *options, "sly")
    done = await agent("run_container", image=IMAGE, command=["id"], mounts=[{"source": "sly", "target": "/mnt"}])
    assert "stands for /etc" in done.output and done.metadata == {"refused": True}


async def test_folders_that_are_allowed_are_mounted_and_links_out_of_them_are_not(host: str, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "file").write_text("hello")
    (tmp_path / "open" / "out").symlink_to("/etc")
    agent = Agent(host, tmp_path, allowed_host_paths=[str(tmp_path / "open")])

    async def look(source: str) -> ToolResult:
        mounts = [{"source": source, "target": "/mnt", "read_only": True}]
        command = ["sh", "-c", "cat /mnt/file; touch /mnt/x"]
        return await agent("run_container", image=IMAGE, command=command, mounts=mounts)

    seen = await look(f"{tmp_path}/open")
    assert "hello" in seen.output and "Read-only file system" in seen.output
    for source in (f"{tmp_path}/open/out", f"{tmp_path}/open/../", "/", "/var/run/docker.sock"):
        assert (await look(source)).metadata == {"refused": True}, source


async def test_images_volumes_and_networks(agent: Agent, host: str) -> None:
    assert IMAGE in (await agent("list_images")).output
    assert '"kubiya-test/busybox:1"' in (await agent("inspect_image", image=IMAGE)).output
    assert "No such image" in ((await agent("run_container", image="nothing", command=["id"])).error or "")
    assert (await agent("create_volume", volume="data")).error is None
    mounts = [{"source": "data", "target": "/data"}]
    await agent("run_container", image=IMAGE, command=["sh", "-c", "echo kept > /data/file"], mounts=mounts)
    read = await agent("run_container", image=IMAGE, command=["cat", "/data/file"], mounts=mounts)
    assert read.output == "kept\n"
    assert "data" in (await agent("list_volumes")).output
    assert '"driver": "local"' in (await agent("inspect_volume", volume="data")).output
    assert (await agent("remove_volume", volume="data")).output == "Removed the volume data."
    assert "host" in (await agent("list_networks")).output
    assert '"driver": "null"' in (await agent("inspect_network", network="none")).output
    engine.docker(host, "tag", IMAGE, "kubiya-test/other:2")
    assert "kubiya-test/other:2" in (await agent("remove_image", image="kubiya-test/other:2")).output


async def test_an_image_that_cannot_be_pulled_says_why(agent: Agent) -> None:
    done = await agent("pull_image", image="127.0.0.1:1/nothing:1")
    assert "127.0.0.1:1" in (done.error or "")


async def test_the_hosts_network_is_refused_by_name_and_by_id(agent: Agent, host: str) -> None:
    identity = engine.docker(host, "network", "inspect", "host", "-f", "{{.Id}}").stdout.strip()
    for network in ("host", identity, identity[:12]):
        done = await agent("run_container", image=IMAGE, command=["id"], network=network)
        assert done.metadata == {"refused": True}, network


async def test_what_the_configuration_allows_is_given(host: str, tmp_path: Path) -> None:
    agent = Agent(host, tmp_path, allow_host_namespaces=True)
    done = await agent("run_container", image=IMAGE, command=["ls", "/proc"], network="host", host_processes=True)
    assert done.error is None and len(done.output.split()) > 60


def test_kubiya_exec_of_an_agent_that_runs_containers(host: str, tmp_path: Path) -> None:
    dev = Dev(tmp_path, "--ephemeral")
    try:
        dev.ready()
        configuration = {"docker_host": host, "allowed_images": ["kubiya-test/*"]}
        skill = {"name": "docker", "type": "docker", "configuration": configuration}
        dev.call("POST", "/agents", {"name": "dock", "model_id": "demo", "skills": [skill]})
        rule = {"name": "high asks", "scope_type": "risk_level", "scope_value": "high"}
        dev.call("POST", "/approval-rules", rule)
        run = {"name": "run_container", "arguments": {"image": IMAGE, "command": ["echo", "from inside"]}}
        tools = [{"name": "list_containers", "arguments": {}}, run]
        prompt = "demo:script " + json.dumps([{"tools": tools}, {"text": "It ran."}])
        done = dev.kubiya("exec", "agent", "dock", prompt, "--approve")
        assert (done.returncode, done.stdout.strip()) == (0, "It ran."), done.stderr
        assert "approval needed: run_container (high risk)" in done.stderr and "from inside" in done.stderr
        assert "approval needed: list_containers" not in done.stderr
        assert dev.stop() == 0
    finally:
        dev.process.kill()
