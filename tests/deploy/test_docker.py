"""The image and `--type=docker` with a real engine: run, logs, drain, kill, memory, restart, pull, secrets."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.leak_check import leaks
from kubiya_worker.tools.redaction import _forms
from tests.deploy import engine
from tests.support.stack import ROOT, Process, Stack, free_port, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

IMAGE = f"{engine.IMAGE}:{engine.TAG}"
CONTAINER = "kubiya-worker-default"
NAME = "run-by-hand"


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with engine.engine() as address:
        engine.build(address)
        yield address


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(host: str) -> Iterator[None]:
    yield
    engine.remove_containers(host)


def start(host: str, stack: Stack, *arguments: str) -> Process:
    """`kubiya worker start --type=docker …`"""
    environment = {**stack.worker_environment(), "DOCKER_HOST": host, "DOCKER_CONFIG": str(stack.folder)}
    argv = [sys.executable, "-m", "kubiya_worker.cli.main", "worker", "start", "--queue-id=default", "--type=docker"]
    given = [] if "--image" in arguments else ["--image", engine.IMAGE, "--image-tag", engine.TAG, "--pull=false"]
    process = Process([*argv, *given, *arguments], environment, ROOT)
    stack.processes.append(process)
    return process


def state(host: str, name: str = CONTAINER) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(engine.docker(host, "inspect", name).stdout)[0]
    return found


def run(host: str, stack: Stack, *options: str, name: str = NAME) -> None:
    """`docker run`, as the worker guide has it, hardened as the manifests are."""
    hard = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    keys = ["-e", f"KUBIYA_API_KEY={stack.key}", "-e", f"CONTROL_PLANE_URL={stack.url}", "-e", "QUEUE_ID=default"]
    engine.docker(host, "run", "-d", "--name", name, "--network", "host", *hard, *keys, *options, IMAGE)
    wait_until(lambda: "worker.ready" in engine.docker(host, "logs", name).stdout, 60, "the worker is ready")


def test_the_guides_docker_run_does_work_as_an_unprivileged_user_on_a_read_only_root(host: str, stack: Stack) -> None:
    run(host, stack)
    script = json.dumps([{"text": "", "tools": [{"name": "shell", "arguments": {"command": "id -u"}}]}, {"text": "ok"}])
    skill = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["id"]}}
    agent = stack.agent("in-a-container", skills=[skill])
    done = stack.wait(stack.execute(f"demo:script {script}", agent=agent))
    assert done["status"] == "completed", done
    outputs = [e["data"]["tool_output"] for e in stack.events(done["id"]) if e["event"] == "tool_completed"]
    assert outputs == ["1000"] or outputs[0].strip() == "1000"
    assert engine.docker(host, "exec", NAME, "cat", "/tmp/worker-ready", "/tmp/worker-alive").stdout.count("pid") == 2
    wait_until(lambda: state(host, NAME)["State"]["Health"]["Status"] == "healthy", 60, "the health check passes")


def test_docker_stop_drains_and_leaves_with_0(host: str, stack: Stack) -> None:
    run(host, stack)
    engine.docker(host, "stop", "-t", "30", NAME)
    assert state(host, NAME)["State"]["ExitCode"] == 0
    logs = engine.docker(host, "logs", NAME).stdout
    assert "worker.draining" in logs and "worker.disconnected" in logs


def test_a_killed_container_is_started_again_by_its_restart_policy(host: str, stack: Stack) -> None:
    run(host, stack, "--restart", "unless-stopped")
    pid = int(state(host, NAME)["State"]["Pid"])
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: state(host, NAME)["RestartCount"] == 1, 60, "the engine starts it again")
    wait_until(lambda: engine.docker(host, "logs", NAME).stdout.count("worker.ready") == 2, 60, "it is ready again")


def test_a_wrong_key_ends_with_77_and_one_line(host: str, stack: Stack) -> None:
    keys = ["-e", "KUBIYA_API_KEY=kby_wrong", "-e", f"CONTROL_PLANE_URL={stack.url}", "-e", "QUEUE_ID=default"]
    done = engine.docker(host, "run", "--network", "host", *keys, IMAGE, check=False)
    assert done.returncode == 77
    assert len(done.stderr.strip().splitlines()) == 1 and "KUBIYA_API_KEY" in done.stderr


def test_kubiya_follows_its_container_and_passes_sigterm_on(host: str, stack: Stack) -> None:
    worker = start(host, stack)
    worker.expect("worker.ready", 60)
    worker.signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert any("worker.drained" in line for line in worker.lines)
    assert engine.docker(host, "ps", "-aq").stdout == ""


def test_keys_are_in_no_part_of_the_containers_configuration(host: str, stack: Stack) -> None:
    worker = start(host, stack)
    worker.expect("worker.ready", 60)
    assert stack.key not in engine.docker(host, "inspect", CONTAINER).stdout
    assert stack.key not in Path(f"/proc/{worker.pid}/cmdline").read_text()
    assert state(host)["Config"]["Labels"]["kubiya.queue-id"] == "default"
    config = state(host)["HostConfig"]
    assert config["ReadonlyRootfs"] and config["CapDrop"] == ["ALL"]
    worker.signal(signal.SIGTERM)
    assert worker.wait(60) == 0


def test_detached_it_stays_and_a_second_one_is_refused(host: str, stack: Stack) -> None:
    first = start(host, stack, "-d")
    assert first.wait(60) == 0, first.lines
    assert state(host)["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    second = start(host, stack, "-d")
    assert second.wait(60) == 75
    assert f"runs already in the container {CONTAINER}" in second.lines[-1]
    assert state(host)["State"]["Running"]


def test_detached_it_is_ready_when_the_command_is_over(host: str, stack: Stack) -> None:
    first = start(host, stack, "-d")
    assert first.wait(90) == 0, first.lines
    assert any("ready: it polls the queue default" in line for line in first.lines), first.lines
    assert json.loads(kubiya(host, stack, "worker", "status", "--json").stdout)["polling"] is True
    done = kubiya(host, stack, "worker", "drain")
    assert done.returncode == 64 and "docker kill --signal QUIT" in done.stderr, done
    for command in done.stderr.partition("drains. ")[2].split("; "):  # what it says is what works
        engine.docker(host, *command.split()[1:])
    wait_until(lambda: state(host)["State"]["Status"] == "exited", 60, "it has drained")
    assert state(host)["State"]["ExitCode"] == 0


def test_what_no_restart_mends_is_told_and_leaves_no_container(host: str, stack: Stack) -> None:
    """The engine would start it again for ever; `-d` ends as it does without Docker."""
    argv = [
        "worker",
        "start",
        "--type=docker",
        "--image",
        engine.IMAGE,
        "--image-tag",
        engine.TAG,
        "--pull=false",
        "-d",
    ]
    for queue, key, code, said in (
        ("default", "kby_wrong", 77, "refuses the API key"),
        ("nowhere", stack.key, 78, "The queue 'nowhere' is not known"),
    ):
        done = kubiya(host, stack, *argv, "--queue-id", queue, KUBIYA_API_KEY=key)
        assert done.returncode == code and said in done.stderr.splitlines()[-1], done
        assert engine.docker(host, "ps", "-aq").stdout == ""


def test_an_image_that_can_be_none_is_a_wrong_command_line(host: str, stack: Stack) -> None:
    done = kubiya(host, stack, "worker", "start", "--queue-id=default", "--type=docker", "--image", "Bad Image")
    assert done.returncode == 64 and "is not an image's name and tag. Check --image" in done.stderr, done


def kubiya(host: str, stack: Stack, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **stack.worker_environment(), "DOCKER_HOST": host, **env}
    argv = [sys.executable, "-m", "kubiya_worker.cli.main", *arguments]
    return subprocess.run(argv, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_what_manages_workers_knows_a_container(host: str, stack: Stack, tmp_path: Path) -> None:
    assert start(host, stack, "-d").wait(60) == 0

    def told() -> dict[str, Any]:
        done = kubiya(host, stack, "worker", "status", "--json")  # the only worker there is
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    wait_until(lambda: told()["polling"], 60, "it polls")
    about = told()
    assert (about["queue"], about["container"], about["state"]) == ("default", CONTAINER, "running")
    done = kubiya(host, stack, "worker", "status", "--queue-id", "default")
    assert done.returncode == 0 and f"default  RUNNING in the container {CONTAINER}" in done.stdout, done
    assert any(
        line.split()[:3] == ["default", "docker", "RUNNING"] and CONTAINER in line
        for line in kubiya(host, stack, "worker", "list").stdout.splitlines()
    )
    done = kubiya(host, stack, "worker", "top", "--once")
    (row,) = (line.split() for line in done.stdout.splitlines() if "(docker)" in line)
    assert row[:3] == ["default", "(docker)", "RUNNING"] and row[-1] == "yes" and "0/10" in row, done
    assert "1 of 1 workers running" in done.stdout
    # It writes its key in every form that there is, and the shell that packs the bundle has another one.
    forms = "\n".join(sorted(_forms(stack.key)))
    engine.docker(host, "exec", CONTAINER, "python3", "-c", f"open('/proc/1/fd/1', 'w').write({forms!r} + '\\n')")
    wait_until(lambda: stack.key in engine.docker(host, "logs", CONTAINER).stdout, 60, "it is in the log")
    bundle = tmp_path / "bundle.tar.gz"
    done = kubiya(host, stack, "worker", "support-bundle", "-o", str(bundle), KUBIYA_API_KEY="kby_of_another_shell")
    assert done.returncode == 0, done
    with tarfile.open(bundle) as tar:
        members = {name.partition("/")[2]: tar.extractfile(name) for name in tar.getnames()}
        packed = {name: file.read().decode() for name, file in members.items() if file}
    folder = f"containers/{CONTAINER}"
    assert "worker.ready" in packed[f"{folder}/worker.log"]
    assert json.loads(packed[f"{folder}/status.json"])["active_tasks"] == 0
    assert json.loads(packed[f"{folder}/inspect.json"])["HostConfig"]["ReadonlyRootfs"] is True
    assert not any(leaks(text.encode(), [stack.key]) for text in packed.values())
    assert not any(form in text for form in _forms(stack.key) for text in packed.values())

    logs = kubiya(host, stack, "worker", "logs", "--queue-id", "default", "--json", "-n", "50").stdout
    assert "worker.ready" in [json.loads(line).get("event") for line in logs.splitlines()]
    assert kubiya(host, stack, "worker", "logs", "--queue-id", "default", "--level", "critical").stdout == ""

    done = kubiya(host, stack, "worker", "restart", "--queue-id", "default")
    assert done.stdout == f"default restarted (container {CONTAINER})\n", done
    assert told()["polling"] and told()["started_at"] > about["started_at"]

    follower = Process(
        [sys.executable, "-m", "kubiya_worker.cli.main", "worker", "logs", "--queue-id", "default", "-f"],
        {**stack.worker_environment(), "DOCKER_HOST": host},
        ROOT,
    )
    stack.processes.append(follower)
    follower.expect("worker.ready", 60)
    done = kubiya(host, stack, "worker", "stop", "--queue-id", "default")
    assert done.returncode == 0 and f"(container {CONTAINER}, exit code 0)" in done.stdout, done
    follower.expect("worker.drained", 60)
    assert follower.wait(60) == 0
    assert engine.docker(host, "ps", "-aq").stdout == ""
    assert kubiya(host, stack, "worker", "status", "--queue-id", "default").returncode == 1
    assert kubiya(host, stack, "worker", "stop", "--queue-id", "default").returncode == 1


def test_a_container_that_has_ended_is_told_and_removed_and_a_killed_one_is_killed(host: str, stack: Stack) -> None:
    engine.docker(
        host, "run", "-d", "--label", "kubiya.worker=true", "--label", "kubiya.queue-id=over", IMAGE, "--help"
    )
    wait_until(lambda: "Exited" in engine.docker(host, "ps", "-a").stdout, 60, "it has ended")
    done = kubiya(host, stack, "worker", "status", "--queue-id", "over")
    assert done.returncode == 1 and "over  STOPPED in the container" in done.stdout, done
    assert "was not running; its container" in kubiya(host, stack, "worker", "stop", "--queue-id", "over").stdout
    assert start(host, stack, "-d").wait(60) == 0
    done = kubiya(host, stack, "worker", "stop", "-f", "--queue-id", "default")
    assert done.stdout == f"default was killed (container {CONTAINER})\n", done
    assert engine.docker(host, "ps", "-aq").stdout == ""


def test_without_an_engine_there_are_no_containers(host: str, stack: Stack) -> None:
    for address in ("unix:///nowhere/docker.sock", "tcp://127.0.0.1:9"):
        done = kubiya(address, stack, "worker", "list")
        assert (done.returncode, done.stdout) == (0, "") and "There are no workers here" in done.stderr, done


def test_a_worker_that_runs_out_of_memory_says_so(host: str, stack: Stack) -> None:
    worker = start(host, stack, "--memory", "24m")
    assert worker.wait(120) == 75
    assert "out of memory" in worker.lines[-1]


def test_what_is_missing_is_told_in_one_line(host: str, stack: Stack) -> None:
    missing = start(host, stack, "--image", "no-such-image", "--pull=false")
    assert missing.wait(60) == 78
    assert "no image no-such-image:latest" in missing.lines[-1]
    nobody = start("unix:///nowhere/docker.sock", stack)
    assert nobody.wait(60) == 69
    assert "No Docker engine answers" in nobody.lines[-1]


def test_an_image_is_pulled_from_a_registry(host: str, stack: Stack, tmp_path: Path) -> None:
    if shutil.which("docker-registry") is None:
        engine.install("docker-registry")
    port = free_port()
    config = tmp_path / "registry.yml"
    storage = f"storage:\n  filesystem:\n    rootdirectory: {tmp_path}/images"
    config.write_text(f"version: 0.1\n{storage}\nhttp:\n  addr: 127.0.0.1:{port}\n")
    registry = subprocess.Popen(
        ["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        name = f"127.0.0.1:{port}/kubiya-worker"
        engine.docker(host, "tag", IMAGE, f"{name}:v1")
        wait_until(
            lambda: engine.docker(host, "push", f"{name}:v1", check=False, timeout=120).returncode == 0, 120, "pushed"
        )
        engine.docker(host, "rmi", f"{name}:v1")
        worker = start(host, stack, "--image", name, "--image-tag", "v1")
        worker.expect("worker.ready", 120)
        assert any("pulling" in line for line in worker.lines)
        worker.signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    finally:
        registry.terminate()
        registry.wait(10)
