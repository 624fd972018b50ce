"""The closed loop of an alert, with a real Prometheus and Alertmanager; started by scripts/demo-alerts.

A folder stands for a disk, and a small exporter measures it. A file fills it: Prometheus fires, Alertmanager posts to a
hook of a local stack, the hook starts an agent. The agent (the demo model, which plays a script with real tools) finds
the file and asks whether it may remove it. The request is approved over the API. Then the file is gone, the alert
resolves, the hook tells the run, and its answer goes back to a receiver. Everything is stopped at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.server
import json
import os
import re
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import requests

from kubiya_worker.launch.guarded_program import GuardedProgram
from kubiya_worker.launch.stack_folder import read_env
from scripts import demo

SIZE = 40_000_000  # bytes of the disk that the folder stands for
FILES = {"log/app/debug.log": 36_000_000, "log/app/access.log": 400_000, "db/data.bin": 1_000_000}
BIG = "log/app/debug.log"
FIRES_WITHIN = 60.0  # seconds
ENDS_WITHIN = 90.0
PROMETHEUS = ("prometheus",)
ALERTMANAGER = ("alertmanager", "prometheus-alertmanager")  # upstream's name, and Debian's
RULES = """\
groups:
  - name: disks
    rules:
      - alert: DiskFull
        expr: disk_used_bytes / disk_size_bytes > 0.9
        for: 1s
        labels: {severity: critical}
        annotations:
          summary: 'The disk {{ $labels.mountpoint }} is full'
          description: '{{ $value | humanizePercentage }} are used.'
"""


class DiskPage(http.server.BaseHTTPRequestHandler):
    """Show the disk's size and what is used of it, as an exporter of metrics does."""

    folder: Path

    def do_GET(self) -> None:
        used = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        label = f'{{mountpoint="{self.folder}"}}'
        text = f"disk_size_bytes{label} {SIZE}\ndisk_used_bytes{label} {used}\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: Prometheus asks every second."""


class AnswerPage(http.server.BaseHTTPRequestHandler):
    """Take the answers that the hook sends back."""

    answers: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.answers.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def served(page: type[http.server.BaseHTTPRequestHandler]) -> Iterator[int]:
    """Serve pages on a free port of this host."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def program(names: tuple[str, ...]) -> str:
    """Return the path of a program. Raises Failed when no name of it is on PATH."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise demo.Failed(f"{names[-1]} is not here: install it (Debian: {names[-1]}), or put it on PATH")
    return found


@contextlib.contextmanager
def guarded(name: str, argv: list[str], home: Path) -> Iterator[None]:
    """Run a program that ends with this block, and with this process."""
    child = GuardedProgram(name, argv, os.environ, home / f"{name}.log")
    try:
        yield
    finally:
        child.terminate()
        if not child.wait(demo.STOP_WITHIN):
            child.kill()
            child.wait(5.0)
        child.close()


@contextlib.contextmanager
def monitors(home: Path, exporter: int, hook_url: str, token: Path) -> Iterator[None]:
    """Run Prometheus and Alertmanager, which look every second and send to the hook."""
    alerts, metrics = free_port(), free_port()
    (home / "rules.yml").write_text(RULES)
    prometheus = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(home / "rules.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alerts}"]}]}]},
        "scrape_configs": [{"job_name": "disk", "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}]}],
    }
    alertmanager = {
        "route": {
            **{"receiver": "kubiya", "group_by": ["alertname", "mountpoint"]},
            **{"group_wait": "1s", "group_interval": "2s", "repeat_interval": "1h"},
        },
        "receivers": [
            {
                "name": "kubiya",
                "webhook_configs": [
                    {
                        "url": hook_url,
                        "send_resolved": True,
                        "http_config": {"authorization": {"credentials_file": str(token)}},
                    }
                ],
            }
        ],
    }
    (home / "prometheus.yml").write_text(json.dumps(prometheus))  # JSON is YAML
    (home / "alertmanager.yml").write_text(json.dumps(alertmanager))
    first = [
        *(program(ALERTMANAGER), f"--config.file={home / 'alertmanager.yml'}"),
        *(f"--storage.path={home / 'alertmanager'}", f"--web.listen-address=127.0.0.1:{alerts}"),
        "--cluster.listen-address=",
    ]
    second = [
        *(program(PROMETHEUS), f"--config.file={home / 'prometheus.yml'}"),
        *(f"--storage.tsdb.path={home / 'prometheus'}", f"--web.listen-address=127.0.0.1:{metrics}"),
    ]
    with guarded("alertmanager", first, home), guarded("prometheus", second, home):
        yield


def documents(folder: Path, answers: int) -> list[dict[str, Any]]:
    """Return the agent, and the hook whose prompt the demo model plays."""
    steps = [
        {
            "text": "I look for large files.",
            "tools": [{"name": "shell", "arguments": {"command": f"find {folder} -type f -size +5000k -ls"}}],
        },
        {
            "text": f"{folder / BIG} is nearly all of it. I ask whether I may remove it.",
            "tools": [{"name": "delete_file", "arguments": {"path": BIG}}],
        },
        {"text": f"{folder / BIG} filled the disk, and it is removed. I wait until the alert is over."},
    ]
    agent = {
        "description": "Makes room on disks",
        "model_id": "demo",
        "skills": [
            {"type": "shell", "configuration": {"allowed_commands": ["find", "ls"], "read_paths": [str(folder)]}},
            {"type": "file_system", "configuration": {"base_dir": str(folder)}},
        ],
    }
    hook = {
        **{"source": "alertmanager", "agent": "disks", "queue": "default", "wait_for_resolved": True},
        "proof": {"secret": "{{.secret.ALERTS}}"},
        "match": {"severity": "critical"},
        "prompt": f"demo:script {json.dumps(steps)}\n\nThe alert: {{{{title}}}}, labels {{{{labels}}}}",
        "reply": {
            **{"kind": "webhook", "url": f"http://127.0.0.1:{answers}/"},
            "private_networks": ["127.0.0.0/8"],
        },
    }
    return [{"kind": "Agent", "name": "disks", "spec": agent}, {"kind": "Hook", "name": "disk-alerts", "spec": hook}]


class Plane:
    """The API of the local stack, as a person's key reaches it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.url = environment["CONTROL_PLANE_URL"]
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {environment['KUBIYA_API_KEY']}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._session.request(method, f"{self.url}/api/v1{path}", json=body, timeout=10)
        if answer.status_code >= 300:
            raise demo.Failed(f"{method} {path} answered {answer.status_code}: {answer.text[:500]}")
        return answer.json() if answer.content else None

    def deliveries(self) -> list[dict[str, Any]]:
        return list(self.call("GET", "/hooks/disk-alerts/deliveries"))


def until(what: str, within: float, look: Callable[[], Any]) -> Any:
    """Return the first thing that `look` finds. Raises Failed after `within` seconds."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise demo.Failed(f"{what} did not come within {within:g} s")


def fill(folder: Path) -> str:
    """Write the files, and return the digest of those that have to stay."""
    for name, size in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    return kept(folder)


def kept(folder: Path) -> str:
    found = hashlib.sha256()
    for name in sorted(FILES.keys() - {BIG}):
        found.update((folder / name).read_bytes() if (folder / name).exists() else b"gone")
    return found.hexdigest()


def loop(plane: Plane, folder: Path, answers: list[dict[str, Any]], say: Callable[[str], None]) -> dict[str, Any]:
    """Follow the alert from its start to the answer; return {execution_id, status, answer, answers}."""
    started = until("the alert", FIRES_WITHIN, lambda: [d for d in plane.deliveries() if d["verdict"] == "started"])
    execution_id, alert = started[0]["execution_id"], started[0]["alert"]
    say(f"Alertmanager posts {alert['title']!r}; the hook starts the execution {execution_id}")
    query = f"/approvals?status=pending&execution_id={execution_id}"
    asked = until("the request for approval", ENDS_WITHIN, lambda: plane.call("GET", query))
    approval = asked[0] if isinstance(asked, list) else asked["approvals"][0]
    say(f"The agent asks: {approval['tool_name']} {json.dumps(approval['tool_args'])}")
    if not (folder / BIG).exists():
        raise demo.Failed(f"{folder / BIG} went before anybody was asked")
    plane.call("POST", f"/approvals/{approval['id']}/approve", {"comment": "Yes, debug logs may go"})
    say("It is approved")
    until("the end of the file", ENDS_WITHIN, lambda: not (folder / BIG).exists())
    say(f"{BIG} is gone; Prometheus sees it, and Alertmanager says that the alert is over")
    until("the news for the run", ENDS_WITHIN, lambda: [d for d in plane.deliveries() if d["verdict"] == "told"])

    def ended() -> dict[str, Any] | None:
        row = dict(plane.call("GET", f"/executions/{execution_id}"))
        return row if row["status"] in ("completed", "failed", "cancelled") else None

    row = until("the end of the run", ENDS_WITHIN, ended)
    until("the answer to the receiver", ENDS_WITHIN, lambda: answers)
    return {"execution_id": execution_id, "status": row["status"], "answer": row["response"], "answers": answers}


def check(plane: Plane, result: dict[str, Any]) -> None:
    """Raise Failed unless the loop was closed: one run, which was told, and one answer."""
    if result["status"] != "completed":
        raise demo.Failed(f"the execution is {result['status']}")
    verdicts = [each["verdict"] for each in plane.deliveries()]
    if verdicts.count("started") != 1 or verdicts[-1] != "started" or "told" not in verdicts:
        raise demo.Failed(f"the deliveries are {verdicts}")
    events = plane.call("GET", f"/executions/{result['execution_id']}/events?limit=1000")
    said = [str(e["data"].get("content")) for e in events if e["event_type"] == "message"]
    if not any(re.search("DiskFull|full", text) and "is resolved" in text for text in said):
        raise demo.Failed(f"the run was not told that its alert is resolved: {said}")
    if [each["execution_id"] for each in result["answers"]] != [result["execution_id"]]:
        raise demo.Failed(f"one answer should have come back: {result['answers']}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo-alerts", description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one line of JSON only")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    say: Callable[[str], None] = (lambda text: None) if options.json else demo.say
    began = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="kubiya-alerts-")).resolve()
    try:
        for names in (PROMETHEUS, ALERTMANAGER):
            program(names)
        folder = home / "disk"
        rest = fill(folder)
        DiskPage.folder, AnswerPage.answers = folder, []
        say(f"kubiya dev: Temporal, the control plane and a worker, in {home}")
        with demo.guarded_stack(home) as facts, served(DiskPage) as exporter, served(AnswerPage) as answers:
            environment = {**os.environ, **read_env(Path(facts["env_file"]))}
            plane, token = Plane(environment), home / "token"
            token.touch(0o600)
            token.write_text(secrets.token_hex(24))
            plane.call("PUT", "/secrets/ALERTS", {"value": token.read_text()})
            plane.call("POST", "/definitions/apply", {"documents": documents(folder, answers)})
            say(f"A disk of 40 MB is full: {folder}. Prometheus and Alertmanager start")
            with monitors(home, exporter, f"{plane.url}/hooks/disk-alerts", token):
                result = loop(plane, folder, AnswerPage.answers, say)
            check(plane, result)
            if kept(folder) != rest:
                raise demo.Failed("another file was changed")
        result["seconds"] = round(time.monotonic() - began, 1)
        say(f"The loop is closed: one run, told of the end; its answer came back. {result['seconds']} s in all")
        print(json.dumps(result, ensure_ascii=False) if options.json else result["answer"], flush=True)
        return 0
    except demo.Failed as error:
        print(f"scripts/demo-alerts: {error}", file=sys.stderr)
        for log in ("alertmanager.log", "prometheus.log"):
            if (home / log).exists():
                lines = (home / log).read_text(errors="replace").splitlines()
                print("\n".join(line for line in lines[-5:] if "level=info" not in line), file=sys.stderr)
        return 1
    except (KeyboardInterrupt, SystemExit):
        print("scripts/demo-alerts: stopped", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
