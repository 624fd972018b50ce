"""A person's shell beside a local stack, and what is done with each command of a page.

A command is typed as it stands, with placeholders filled in, and has to end with exit code 0, unless TREATMENTS says
otherwise. What cannot be run here is listed there with the reason, and with another test or check that holds it.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import yaml

from kubiya_worker.cli.main import cli
from tests.support.dev import Dev
from tests.support.receiver import Receiver
from tests.support.stack import BIN, ROOT, Process, wait_until

QUEUE = "my-queue"


class Shell:
    """One page's: what is exported in one command holds in the next. `document` is the YAML block that is read above.

    `receiver` stands for the servers that a page sends something to.
    """

    def __init__(self, dev: Dev, folder: Path, receiver: Receiver) -> None:
        self.dev = dev
        self.folder = folder
        self.receiver = receiver
        self.document = ""
        self._state = folder / ".state"
        self._state.write_text(f"cd {shlex.quote(str(folder))}\n")
        self._environment = {
            "HOME": str(dev.home),
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
            "TMPDIR": str(folder),
        }

    def filled(self, command: str) -> str:
        """Placeholders with what they stand for."""
        environment = self.dev.environment()
        for usual in ("https://control-plane.kubiya.ai", "http://127.0.0.1:7777"):
            command = command.replace(usual, environment["CONTROL_PLANE_URL"])
        command = command.replace("kby_…", environment["KUBIYA_API_KEY"])
        command = re.sub(r"\bexecutions/ID\b", lambda _: f"executions/{self._newest()}", command)
        command = re.sub(r"\bEXECUTION\b", lambda _: self._newest(), command)
        command = re.sub(r"\bruns (\w+) ID\b", lambda m: f"runs {m[1]} {self._newest()}", command)
        command = re.sub(r"\bapprovals (\w+) ID\b", lambda m: f"approvals {m[1]} {self._waiting()}", command)
        command = command.replace("/var/backups/", f"{self.folder}/")
        return command.replace("--database FILE", f"--database {self.folder}/new.db").replace("NEW", "new-key")

    def _newest(self) -> str:
        """The last execution that is completed; made when there is none. One that waits for a person would not end."""
        if not (over := [e for e in self.dev.call("GET", "/executions") if e["status"] == "completed"]):
            self.run("kubiya exec agent ops hello")
            return str(self.dev.newest()["id"])
        return str(max(over, key=lambda e: e["created_at"])["id"])

    def _waiting(self) -> str:
        found = self.dev.kubiya("approvals", "ls", "--json").stdout.split('"id": "')[1]
        return str(found[:8])

    def run(self, command: str, code: int = 0) -> str:
        script = (
            f'. "{self._state}"\n{self.filled(command)}\ncode=$?\n'
            f'{{ export -p; echo "cd \\"$PWD\\""; }} > "{self._state}"\nexit $code'
        )
        done = subprocess.run(
            ["bash", "-c", script],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}\n[exit {done.returncode}, not {code}]"
        return done.stdout

    def until(self, command: str, pattern: str, number: signal.Signals, *codes: int) -> None:
        """A command that goes on until it is stopped, or ends by itself just then."""
        script = f'. "{self._state}"\nexec env {self.filled(command)}'
        running = Process(["bash", "-c", script], self._environment, self.folder)
        try:
            running.expect(pattern, 90)
            running.signal(number)
            assert running.wait(60) in codes, running.lines
        finally:
            running.kill()

    def daemon(self) -> None:
        """A worker of the queue that the pages speak of runs."""
        if self.dev.kubiya("worker", "status", "--queue-id", QUEUE).returncode:
            self.run(f"kubiya worker start --queue-id={QUEUE} -d")

    def close(self) -> None:
        if self.dev.call("GET", "/stop")["stopped"]:  # the next page's agents would not start
            self.dev.call("DELETE", "/stop")
        for path in (self.dev.home / ".kubiya" / "workers").glob("*/worker.pid"):
            self.dev.kubiya("worker", "stop", "-f", "--queue-id", path.parent.name)


Treatment = Callable[[Shell, str], object]


def exits(code: int) -> Treatment:
    return lambda shell, command: shell.run(command, code)


def foreground(pattern: str, number: signal.Signals = signal.SIGTERM, *codes: int) -> Treatment:
    return lambda shell, command: shell.until(command, pattern, number, *(codes or (0,)))


def killed(shell: Shell, command: str) -> None:
    """It ends some time after the signal. Until then the next command would find it, and then not."""
    shell.daemon()
    shell.run(command)
    wait_until(lambda: shell.dev.kubiya("worker", "status", "--queue-id", QUEUE).returncode, 60, "the worker's end")


def with_a_daemon(then: Treatment) -> Treatment:
    def treat(shell: Shell, command: str) -> None:
        shell.daemon()
        then(shell, command)

    return treat


def parsed(shell: Shell, command: str) -> None:
    """Understood to the last flag; what it does is another test's."""
    argv = shlex.split(shell.filled(command))[1:]
    context = click.Context(cli)
    name, found, rest = cli.resolve_command(context, argv)
    while isinstance(found, click.Group):
        context = click.Context(found, info_name=name, parent=context)
        name, found, rest = found.resolve_command(context, rest)
    assert found is not None
    found.make_context(name, list(rest))


def printed(shell: Shell, command: str) -> None:
    """A service is written to stdout only: there is no systemd here."""
    with_a_daemon(lambda s, c: s.run(c if "--print" in c else f"{c} --print"))(shell, command)


def made_of_files(shell: Shell, command: str) -> None:
    """Needs an engine or a cluster. Files that it names are there; YAML among them is read."""
    named = [word for word in shlex.split(command) if word.startswith("deploy/")]
    for name in named:
        path = ROOT / name
        assert path.exists(), name
        for file in [path] if path.suffix == ".yaml" else path.glob("*.yaml") if "helm" not in name else []:
            assert list(yaml.safe_load_all(file.read_text())), file
    if "apply -k" in command and shutil.which("kubectl"):
        subprocess.run(["kubectl", "kustomize", ROOT / "deploy" / "k8s"], check=True, capture_output=True, timeout=60)
    for key in re.findall(r"--set(?:-json)? '?([\w.]+)=", command):
        chart = next(name for name in named if name.startswith("deploy/helm/"))
        values = yaml.safe_load((ROOT / chart / "values.yaml").read_text())
        for part in key.split("."):
            assert part in values, key
            values = values[part]


def with_a_token_file(shell: Shell, command: str) -> None:
    (shell.folder / "github-token.txt").write_text("a-token-of-this-test\n")
    shell.run(command)


def with_the_head(shell: Shell, command: str) -> None:
    last = json.loads((shell.folder / "audit.jsonl").read_text().splitlines()[-1])
    shell.run(command.replace("NUMBER:HASH", f"{last['seq']}:{last['hash']}"))


def with_the_document(shell: Shell, command: str) -> None:
    """The page shows the file above the command."""
    text = shell.document.replace("https://ntfy.sh", shell.receiver.url)
    (shell.folder / command.split()[-1]).write_text(text)
    shell.run(command)


def received(shell: Shell, command: str) -> None:
    before = len(shell.receiver.got)
    shell.run(command)
    topic = yaml.safe_load(shell.document)["spec"]["channel"]["topic"]
    assert topic in [got.json["topic"] for got in shell.receiver.got[before:]]


def with_a_hook(shell: Shell, command: str) -> None:
    """The hook of somebody's own program, whose secret the program has in a file."""
    (shell.folder / "token").write_text("a-token-of-this-test")
    shell.run("kubiya secrets set BACKUPS < token")
    proof = {"secret": "{{.secret.BACKUPS}}"}
    shell.dev.call("POST", "/hooks", {"name": "backups", "source": "json", "agent": "ops", "proof": proof})
    answer = shell.run(command)
    assert json.loads(answer).get("verdict") == "started", answer


def of_a_run_that_works(shell: Shell, command: str) -> None:
    words = {"text": "word ", "repeat_text": 100, "delay_ms": 1000}
    shell.run(f"kubiya exec agent ops {shlex.quote(f'demo:script {json.dumps([words])}')} --timeout 1", 75)
    shell.run(command.replace(" ID ", f" {shell.dev.newest()['id']} "))


def with_a_shorter_night(shell: Shell, command: str) -> None:
    """The page gives a person fifteen seconds to kill the worker; here the next command does it at once."""
    assert '"seconds": 15' in command
    shell.run(command.replace('"seconds": 15', '"seconds": 5'), 75)


def in_a_home_of_its_own(shell: Shell, command: str) -> None:
    """It deletes files of ~/.kubiya, and the stack of the other pages lives there."""
    home = shell.folder / "home"
    (home / ".kubiya" / "dev").mkdir(parents=True, exist_ok=True)
    (home / ".kubiya" / "dev" / "control-plane.db").write_text("")
    shell.run(f"(HOME={shlex.quote(str(home))}; {command})")
    assert (home / ".kubiya" / "dev" / "control-plane.db").exists() is ("--data" not in command)


def not_here(reason: str) -> Treatment:
    assert reason
    return lambda shell, command: None


def program(shell: Shell, command: str) -> None:
    """A script of this repository, which tests of its own run."""
    assert (ROOT / command.split()[0]).exists() or command.startswith(".venv/bin/python -m scripts."), command


TREATMENTS: tuple[tuple[str, Treatment], ...] = (
    (r"\./scripts/|scripts/", program),
    (r"\.venv/bin/python -m scripts\.", program),
    (r"python3 -m venv |\.venv/bin/pip |\. \.venv/|pip install", not_here("needs a package index; test_demo does it")),
    (r"kubiya uninstall --yes", in_a_home_of_its_own),
    (r"sudo |echo .* \| sudo ", not_here("needs root and a booted systemd; tests/deploy/test_host_packages.py")),
    (r"kill \$\(awk ", killed),
    (r"ollama ", not_here("a local model server; tests/integration/models has a scripted one")),
    (r"kubiya models ", parsed),  # tests/integration/models/test_models_command.py
    (r"kubiya audit verify .*NUMBER:HASH", with_the_head),
    (r"kubiya secrets set .* < ", with_a_token_file),
    (r"kubiya apply -f (hook|on-call|small|tickets)\.yaml$", with_the_document),
    (r"kubiya notifications test ", received),
    (r"kubiya runs cancel ID ", of_a_run_that_works),
    (r"kubiya server restore ", parsed),  # tests/faults/test_backup.py
    (r"kubiya dev\b", parsed),  # the stack that all of this runs beside was started by it
    (r"kubiya worker start .*--type=docker", parsed),  # tests/deploy
    (r"kubiya worker deployment ", parsed),  # tests/integration/versions
    (r"kubiya worker start .*-d\b", exits(0)),
    (r"kubiya worker start ", foreground("worker.ready")),
    (r"kubiya worker (un)?install-service .*--print", printed),
    (r"kubiya worker install-service", printed),
    (r"kubiya worker uninstall-service", parsed),
    (r"kubiya workers (show|drain|undrain|restart) ", parsed),  # tests/process/daemon/test_wishes.py
    (r"kubiya worker logs .*-f", with_a_daemon(foreground("worker.ready", signal.SIGINT, 130))),
    (r"tail -f ", with_a_daemon(foreground("worker.ready", signal.SIGTERM, -signal.SIGTERM))),
    (r"kubiya worker (status|restart|drain|stop|logs) .*my-queue", with_a_daemon(exits(0))),
    (r"kubiya exec agent night-watch ", with_a_shorter_night),
    (r"kubiya exec .*(--no-wait|--timeout)", exits(75)),
    (r"kubiya exec agent ops \"What fills the disk under /var/log\?\"$", parsed),  # in tutorial.md with a folder
    (r"kubiya exec agent disk-watcher ", parsed),  # asks for an approval; tests/integration/examples runs such agents
    (r"kubiya runs watch ", parsed),  # the newest execution may wait for a person; tests/unit/cli/test_runs.py
    (r"kubiya exec team triage \"[^\"]*\"$", parsed),  # in tutorial.md with a folder and --approve
    (r'curl "\$URL" ', not_here("a webhook's URL and secret; tests/integration/jobs/test_webhooks.py signs alike")),
    (r"curl \S+/hooks/backups ", with_a_hook),
    (r"curl -N ", foreground("event: done", signal.SIGINT, -signal.SIGINT, 0)),
    (r"docker (build|run|compose) ", made_of_files),
    (r"kubectl |helm ", made_of_files),
    (r"ps aux ", with_a_daemon(exits(0))),
)


def treat(shell: Shell, command: str) -> None:
    if command.startswith("curl ") and not shutil.which("curl"):
        return  # this host has none
    for pattern, treatment in TREATMENTS:
        if re.match(pattern, re.sub(r"^(\w+=\S+ )+", "", command)):
            treatment(shell, command)
            return
    shell.run(command)
