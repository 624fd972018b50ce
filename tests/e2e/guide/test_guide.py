"""U2: everything that the worker guide names is there: commands, flags, variables, paths, endpoints, files, metrics.

extract.py finds in docs/guide.md what it names. Commands are run, against one stack, or it is said
where they are run or why they are not.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import requests
import yaml

from kubiya_worker.cli.worker_start import start as start_command
from kubiya_worker.process.metrics import METRICS, PREFIX
from kubiya_worker.settings import sources
from kubiya_worker.settings.table import OPTIONS
from tests.e2e.guide.extract import extract
from tests.support.daemon import KUBIYA, Daemons
from tests.support.stack import ROOT, Process, Stack

pytestmark = pytest.mark.timeout(300)
GUIDE: dict[str, Any] = extract((ROOT / "docs" / "guide.md").read_text())
QUEUE = "my-queue"
TROUBLESHOOTING = "tests/process/daemon/test_guide_troubleshooting.py"
RUNNING = "tests/process/daemon/test_running.py"
KILLED = "tests/faults/supervisor/test_killed.py"
DOCKER = "tests/deploy/test_docker.py"


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemons]:
    with Stack(tmp_path_factory.mktemp("stack")) as stack, Daemons(stack, tmp_path_factory.mktemp("home")) as made:
        for name in {"my-queue", "my-queue-id", "dev-queue", "prod-queue", "test-queue", "debug-queue"} | PLACES:
            stack.queue(name)
        yield made


PLACES = {"high-priority", "low-priority", "us-east-1-queue", "eu-west-1-queue"}


# -- what can be done with a command


def as_typed(command: str) -> list[str]:
    return shlex.split(command.replace("<queue-id>", QUEUE))[1:]


def queue_of(argv: list[str]) -> str:
    return next(a for a in argv if a.startswith("--queue-id")).partition("=")[2]


def in_the_foreground(command: str, daemons: Daemons) -> None:
    worker = Process([KUBIYA, *as_typed(command)], daemons.environment(), daemons.home)
    try:
        worker.expect("worker.ready", 90)
        worker.signal(signal.SIGTERM)
        assert worker.wait(60) == 0, worker.lines
    finally:
        worker.kill()


def in_the_background(command: str, daemons: Daemons) -> None:
    argv = as_typed(command)
    queue = queue_of(argv)
    assert daemons.run(*argv).stdout.startswith("ready: ")
    try:
        for path in GUIDE["paths"]:
            if "<queue-id>/" in path and "test.log" not in path:  # which the guide itself makes
                assert Path(path.replace("~", str(daemons.home)).replace("<queue-id>", queue)).exists(), path
    finally:
        daemons.run("worker", "stop", "--queue-id", queue)


def with_docker(command: str, daemons: Daemons) -> None:
    """All of the command is understood; without an engine it ends with the remedy. With one: tests/deploy."""
    done = daemons.run(*as_typed(command), check=False, DOCKER_HOST="unix:///nowhere/docker.sock")
    assert done.returncode == 69 and len(done.stderr.splitlines()) == 1 and "Docker" in done.stderr, done


def of_the_settings(command: str, daemons: Daemons) -> None:
    name = command.split()[1].partition("=")[0]
    assert name in VARIABLES
    done = daemons.run("config", "explain", name)
    assert name in done.stdout


def asked_of_the_control_plane(command: str, daemons: Daemons) -> None:
    *_, url = shlex.split(command)
    path = url.partition(".ai")[2].replace("<queue-id>", QUEUE)
    headers = {"Authorization": f"Bearer {daemons.stack.key}"} if "Authorization" in command else {}
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(daemons.stack.url + path, headers=headers, timeout=30)
    assert answer.status_code == 200 and answer.json()["status"], answer.text


class Elsewhere:
    """Another test does it; that it is there is checked."""

    def __init__(self, file: str, test: str) -> None:
        self.file, self.test = file, test

    def __call__(self, command: str, daemons: Daemons) -> None:
        assert f"def {self.test}(" in (ROOT / self.file).read_text(), f"{self.file} has no {self.test}"


class NotOurs:
    """A program of the host, from which nothing of this product follows."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __call__(self, command: str, daemons: Daemons) -> None:
        pass


Treatment = Callable[[str, Daemons], None]
TREATMENTS: list[tuple[str, Treatment]] = [
    (r"kubiya worker start .*--type=docker", with_docker),
    (r"kubiya worker start .*(-d|--daemon)\b", in_the_background),
    (r"kubiya worker start ", in_the_foreground),
    (r"export ", of_the_settings),
    (r"curl ", asked_of_the_control_plane),
    (r"tail -f ", Elsewhere(TROUBLESHOOTING, "test_tail_f_shows_the_log")),
    (r"ps aux ", Elsewhere(TROUBLESHOOTING, "test_ps_shows_the_worker_and_kill_stops_it")),
    (r"kill <pid>", Elsewhere(TROUBLESHOOTING, "test_kill_of_the_pid_files_pid_stops_both")),
    (r"kill -9 <pid>", Elsewhere(KILLED, "test_a_killed_supervisor_leaves_nobody")),
    (r"echo \$KUBIYA_API_KEY", Elsewhere(TROUBLESHOOTING, "test_the_api_key_is_named_when_it_is_missing")),
    (r"echo \$HTTPS?_PROXY", Elsewhere(TROUBLESHOOTING, "test_the_proxy_settings_are_used")),
    (r"python3 --version", Elsewhere(TROUBLESHOOTING, "test_an_old_python_is_one_line")),
    (r"rm -rf .*/venv", Elsewhere(TROUBLESHOOTING, "test_clearing_the_venv_heals_it")),
    (r"cd |python3 -m venv|source |pip install", Elsewhere(TROUBLESHOOTING, "test_the_manual_repair")),
    (r"ls -la .*/logs/|touch |df -h", Elsewhere(RUNNING, "test_looking_at_the_logs_folder")),
    (r"ls -la |cat ", Elsewhere(RUNNING, "test_the_status_check")),
    (
        r"docker run -d ",
        Elsewhere(DOCKER, "test_the_guides_docker_run_does_work_as_an_unprivileged_user_on_a_read_only_root"),
    ),
    (r"docker run --memory", Elsewhere(DOCKER, "test_a_worker_that_runs_out_of_memory_says_so")),
    (r"docker logs ", Elsewhere(DOCKER, "test_docker_stop_drains_and_leaves_with_0")),
    (r"docker pull ", Elsewhere(DOCKER, "test_an_image_is_pulled_from_a_registry")),
    (r"kubectl logs ", NotOurs("needs a cluster; the worker logs to stdout, and the names are checked below")),
    (r"ping |telnet ", NotOurs("whether the network is there; kubiya doctor says it too")),
    (r"git add ", NotOurs("git")),
]


def treatment_of(command: str) -> Treatment:
    return next(do for pattern, do in TREATMENTS if re.match(pattern, command))


def test_every_treatment_is_used() -> None:
    used = {id(treatment_of(each["command"])) for each in GUIDE["commands"]}
    assert {id(do) for _, do in TREATMENTS} == used


def _different(commands: list[dict[str, str]]) -> Iterator[Any]:
    """Commands that differ in more than the queue's name."""
    seen = set()
    for each in commands:
        shape = re.sub(r"--queue-id=\S+", "--queue-id", each["command"])
        if shape not in seen:
            seen.add(shape)
            yield pytest.param(each["command"], id=f"{each['section']}: {shape}")


@pytest.mark.parametrize("command", list(_different(GUIDE["commands"])))
def test_a_command_of_the_guide(command: str, daemons: Daemons) -> None:
    treatment_of(command)(command, daemons)


# -- flags and variables

PARAMETERS = {name: p for p in start_command.params if isinstance(p, click.Option) for name in p.opts}
VARIABLES = {name: option for option in OPTIONS for name in option.env}
ENVIRONMENT_OF_ALL = {"HTTP_PROXY", "HTTPS_PROXY"}  # read by every HTTP client, and by the connection to Temporal


@pytest.mark.parametrize("flag", GUIDE["flags"], ids=lambda f: f["flag"])
def test_a_flag_of_the_guide(flag: dict[str, str | None]) -> None:
    known = PARAMETERS[str(flag["flag"])]
    assert flag["short"] is None or f"-{flag['short']}" in known.opts
    if flag["default"]:
        assert f"[default: {flag['default']}]" in (known.help or "")


@pytest.mark.parametrize("variable", GUIDE["variables"], ids=lambda v: v["name"])
def test_a_variable_of_the_guide(variable: dict[str, str | None]) -> None:
    name, default = str(variable["name"]), variable["default"]
    if name in ENVIRONMENT_OF_ALL:
        return
    option = VARIABLES[name]
    if default and not default.startswith(("Uses", "Auto", "python3")):
        assert option.parse(default) == option.default


# -- paths, endpoints, metrics


def test_paths_of_the_guide() -> None:
    """The paths of a daemon have their own check, where a daemon runs: `in_the_background`."""
    defaults = {option.default for option in OPTIONS}
    image = (ROOT / "deploy" / "Dockerfile").read_text()
    for path in GUIDE["paths"]:
        if path.startswith("/app"):
            assert f'"{path}"' in image, path
        elif path.startswith("/tmp"):
            assert path in defaults, path
        elif path == "~/.kubiya/worker-config.yaml":
            assert path == str(sources.DEFAULT_FILE)
        else:
            assert path.startswith("~/.kubiya/workers/"), path


def test_endpoints_of_the_guide_are_all_asked() -> None:
    asked = [each["command"] for each in GUIDE["commands"] if each["command"].startswith("curl ")]
    for endpoint in GUIDE["endpoints"]:
        assert any(command.endswith(endpoint) for command in asked), endpoint


def test_metrics_of_the_guide_are_told_by_a_worker(daemons: Daemons) -> None:
    names = {
        "Active Tasks": "active_tasks",
        "Completed Tasks": "completed_tasks_total",
        "Failed Tasks": "failed_tasks_total",
        "CPU Usage": "cpu_percent",
        "Memory Usage": "memory_bytes",
        "Uptime": "uptime_seconds",
    }
    assert names.keys() == set(GUIDE["metrics"]) and set(names.values()) <= {m.name for m in METRICS}
    argv = [KUBIYA, "worker", "start", f"--queue-id={QUEUE}", "--metrics-port=0"]
    worker = Process(argv, daemons.environment(), daemons.home)
    try:
        said = worker.expect("endpoint.listening", 90)
        worker.expect("worker.ready", 90)
        found = re.search(r"http://\S+", said)
        assert found, said
        page = requests.get(f"{found[0].removesuffix('/metrics')}/metrics", timeout=30).text
        for name in names.values():
            assert re.search(rf"^{PREFIX}{name}(\{{.*\}})? \d", page, re.MULTILINE), name
    finally:
        worker.kill()


# -- files


def of_kind(kind: str, api: str = "") -> dict[str, Any]:
    for block in GUIDE["yaml"]:
        for document in yaml.safe_load_all(block["text"]) if "kind:" in block["text"] else ():
            if document["kind"] == kind:
                found: dict[str, Any] = document
                return found
    raise AssertionError(kind)


def ours(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "k8s" / name).read_text())
    return found


def test_the_configuration_file_of_the_guide_is_valid(daemons: Daemons, tmp_path: Path) -> None:
    text = next(b["text"] for b in GUIDE["yaml"] if b["section"] == "Configuration File")
    path = tmp_path / "worker-config.yaml"
    path.write_text(text)
    # of its 14 keys the control plane's URL and key are given by the environment too, which wins
    assert "valid, 12 settings" in daemons.run("config", "validate", str(path)).stdout
    shown = json.loads(daemons.run("config", "show", "--config", str(path), "--json").stdout)
    assert (shown["queue_id"], shown["temporal_namespace"], shown["activity_timeout"]) == (
        "production-queue",
        "kubiya",
        300.0,
    )


def test_the_deployment_of_the_guide_calls_what_there_is() -> None:
    (container,) = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["kubiya", "worker", "start"]
    start_command.make_context("start", [a.replace("$(QUEUE_ID)", QUEUE) for a in container["args"]])
    assert {each["name"] for each in container["env"]} <= VARIABLES.keys()
    files = {option.default for option in OPTIONS}
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["exec"]["command"][1] in files
    (own,) = ours("deployment.yaml")["spec"]["template"]["spec"]["containers"]
    assert own["resources"]["limits"] == container["resources"]["limits"]
    assert own["image"].rpartition(":")[0] == container["image"].rpartition(":")[0]
    assert ours("deployment.yaml")["spec"]["selector"] == of_kind("Deployment")["spec"]["selector"]


def test_the_autoscaler_of_the_guide_is_ours() -> None:
    assert ours("hpa.yaml") == of_kind("HorizontalPodAutoscaler")


def test_the_service_monitor_of_the_guide_finds_the_port() -> None:
    wanted = of_kind("ServiceMonitor")["spec"]
    assert {each["port"] for each in wanted["endpoints"]} == {p["name"] for p in ours("service.yaml")["spec"]["ports"]}
    assert wanted["selector"]["matchLabels"].items() <= ours("service.yaml")["metadata"]["labels"].items()


def test_the_secret_of_the_guide_is_what_the_deployment_asks_for() -> None:
    secret = of_kind("Secret")
    assert secret["metadata"]["name"] in json.dumps(ours("deployment.yaml"))
    assert set(secret["stringData"]) == {"api-key"} and "api-key" in json.dumps(ours("deployment.yaml"))


def test_the_compose_file_of_the_guide_calls_what_there_is() -> None:
    text = next(b["text"] for b in GUIDE["yaml"] if b["section"] == "Docker Compose")
    service = yaml.safe_load(text)["services"]["kubiya-worker"]
    assert {each.partition("=")[0] for each in service["environment"]} <= VARIABLES.keys()
    assert service["command"][:2] == ["worker", "start"]  # behind the image's entry point, `kubiya`
    assert 'ENTRYPOINT ["kubiya"]' in (ROOT / "deploy" / "Dockerfile").read_text()
    start_command.make_context("start", [a.replace("${QUEUE_ID}", QUEUE) for a in service["command"][2:]])


def test_the_security_context_of_the_guide_is_ours() -> None:
    text = next(b["text"] for b in GUIDE["yaml"] if "securityContext" in b["text"])
    wanted = yaml.safe_load(text)["securityContext"]
    pod = ours("deployment.yaml")["spec"]["template"]["spec"]
    assert wanted.items() <= (pod["securityContext"] | pod["containers"][0]["securityContext"]).items()


def test_the_activity_of_the_guide_is_loaded(daemons: Daemons) -> None:
    (block,) = GUIDE["python"]
    file = daemons.home / ".kubiya" / "custom_activities.py"
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.write_text(block["text"])
    worker = Process([KUBIYA, "worker", "start", f"--queue-id={QUEUE}"], daemons.environment(), daemons.home)
    try:
        worker.expect(r"extension\.loaded.*custom_activities\.py", 90)
    finally:
        worker.kill()
        file.unlink()
