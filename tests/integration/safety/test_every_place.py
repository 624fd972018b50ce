"""X1, A4: every kind of secret that a worker and its executions get is told aloud, and looked for in every place.

A supervised worker has credentials of a cloud, a DSN and others in its environment; agents, a skill, MCP servers, a job
and single runs have theirs, by reference or in the open, as another control plane may send them. Tools tell all of them
in every form. Then each file below the test's folder, each history, command line and environment of a process, each
reply of the API, the audit records and a support bundle are searched.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tarfile
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.leak_check import leaks
from kubiya_worker.tools.redaction import REDACTED
from tests.integration.safety.test_canary import command_lines, histories, said
from tests.support.daemon import Daemons
from tests.support.stack import Stack
from tests.unit.tools.leaks import LEAKS, filled

# In the worker's environment; of the DSN the password, of the header what follows its scheme.
OF_WORKER = {
    "AWS_ACCESS_KEY_ID": "AKIACAN4RYCAN4RYCAN4",
    "AWS_SECRET_ACCESS_KEY": "can4ry/aws+Secret/K3y",
    "AWS_SESSION_TOKEN": "can4ry-aws-session//T0ken==",
    "DB_PASSWORD_PROD": "can4ry middle word 3",
    "REPORTING_DSN": "can4ry-dsn-of-the-worker-4",
    "UPSTREAM_HEADER": "ghp_can4ryOfTheWorker5can4ry",
    "TICKETS_TOKEN": "can4ry%extension#6",
}
# By reference, as secrets of the control plane.
DECLARED = {
    "IN_ENV": "can4ry/env+V4l=%1",
    "IN_DSN": "can4ry-dsn.V4l_2",
    "IN_ARGS": "can4ry-args/V4l 3",
    "IN_CONFIGURATION": "can4ry&configuration?V4l=4",
    "IN_HEADER": "can4ry-header_V4l~5",
    "IN_SKILL": "can4ry-skill*V4l'6",
    "IN_AGENT": 'can4ry"agent\\V4l7',
    "IN_JOB": "can4ry<job>V4l8",
}
WEBHOOK = "can4ry-webhook-secret-V4l9"
OF_RUN = {"NOBODY_SAID_DSN": "can4ry-dsn-of-a-run-10", "REQUEST_LINE": "eyJjYW40cnkiOjF9.eyJydW4iOjExfQ.c2lnbmF0dXJl11"}
# In a definition that another control plane has sent: nothing says that these are secrets.
UNDECLARED = {"dsn": "can4ry-undeclared-dsn-12", "bearer": "can4ry-undeclared-bearer-13", "env": "can4ry-open-env-14"}
ORDINARY = ("customer_ordinary", "tenant_ordinary", "kube-system")

EXTENSION = '''
import ctypes
import os
import pathlib
import subprocess
from kubiya_worker.extensions import tool


@tool(risk="low", effects=())
def look(path: str) -> str:
    """Read the environment of the worker in each way that code in its process has."""
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_char_p
    found = [repr(dict(os.environ)), repr([libc.getenv(name) for name in (b"AWS_SECRET_ACCESS_KEY", b"TICKETS_TOKEN")])]
    found.append(subprocess.run(["env"], capture_output=True, text=True).stdout)
    found += [path.read_text() for path in [pathlib.Path("/proc/self/environ")] if path.exists()]
    pathlib.Path(path).write_text("\\n".join(found))
    return "\\n".join(found)
'''
SERVER = """
import os
import sys
from mcp.server import MCPServer

server = MCPServer("chatty")


@server.tool()
def confess(site: str) -> str:
    told = [*map(os.environ.get, ("MCP_TOKEN", "DSN", "PLAIN", "SITE_PASSWORD")), *sys.argv[1:]]
    open(site, "w").write("\\n".join(filter(None, told)))
    return " | ".join(filter(None, told))


server.run()
"""
SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}


class Echo(BaseHTTPRequestHandler):
    """An MCP server, and a page, that repeat the credentials with which they are called."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *ignored: Any) -> None:
        pass

    def _answer(self, status: int, text: str, kind: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if self.path == "/mcp":
            self._answer(405, "", "text/plain")
        else:
            self._answer(200, f"called with {self.headers['X-Api-Key']}", "text/plain")

    def do_DELETE(self) -> None:
        self._answer(200, "", "text/plain")

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        results: dict[str, Any] = {
            "initialize": {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "echo"}},
            "tools/list": {"tools": [{"name": "echo", "inputSchema": {}, "annotations": {"readOnlyHint": True}}]},
            "tools/call": {"content": [{"type": "text", "text": f"with {self.headers['Authorization']}"}]},
        }
        if "id" not in message:
            self._answer(202, "", "application/json")
        else:
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": results[message["method"]]}
            self._answer(200, json.dumps(answer), "application/json")


@pytest.fixture
def echo() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def script(*calls: tuple[str, dict[str, Any]]) -> str:
    tools = [{"name": name, "arguments": arguments} for name, arguments in calls]
    return "demo:script " + json.dumps([*({"tools": [tool]} for tool in tools), {"text": "Nobody heard."}], indent=1)


def environments(pids: Iterable[int]) -> bytes:
    """Return what /proc shows of the processes' environments; root and their user may look."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            found.append(Path(f"/proc/{pid}/environ").read_bytes())
    return b"\n".join(found)


def packed(bundle: Path) -> dict[str, bytes]:
    with tarfile.open(bundle) as tar:
        streams = {entry.name: tar.extractfile(entry) for entry in tar}
        return {f"bundle: {name}": stream.read() for name, stream in streams.items() if stream is not None}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_secret_of_any_kind_stays_anywhere(tmp_path: Path, echo: str) -> None:
    (tmp_path / "chatty.py").write_text(SERVER)
    (tmp_path / "extension.py").write_text(EXTENSION)
    workspace = tmp_path / "told"  # where tools write what they were given: the only files with secrets
    workspace.mkdir()
    secrets = [*OF_WORKER.values(), *DECLARED.values(), WEBHOOK, *OF_RUN.values(), *UNDECLARED.values()]
    known = {"attacks": [*OF_WORKER.values(), *DECLARED.values()], "attacks_of_job": [*OF_WORKER.values()]}
    known["attacks"].remove(DECLARED["IN_JOB"])  # an execution knows its own secrets, and no other one's
    known["attacks_of_job"].append(DECLARED["IN_JOB"])
    for name, each in known.items():
        (workspace / name).write_text("\n".join(filled(case, secret) for secret in each for case in LEAKS))

    def local(site: str, arguments: list[str], **env: str) -> dict[str, Any]:
        return {"command": sys.executable, "args": [str(tmp_path / "chatty.py"), *arguments], "env": env, "timeout": 60}

    def confess(server: str) -> tuple[str, dict[str, Any]]:
        return f"mcp__{server}__confess", {"site": str(workspace / server)}

    with Stack(tmp_path, persistent=True) as stack, Daemons(stack, tmp_path) as daemons, command_lines() as argv:
        secrets.append(stack.key)
        daemons.start(
            **OF_WORKER
            | {
                "REPORTING_DSN": f"postgres://report:{OF_WORKER['REPORTING_DSN']}@db.test/kube-system",
                "UPSTREAM_HEADER": f"Authorization: Bearer {OF_WORKER['UPSTREAM_HEADER']}",
                "PARTITION_KEY": ORDINARY[0],
                "KUBIYA_EXTENSIONS": str(tmp_path / "extension.py"),
                "KUBIYA_EXTENSION_VARIABLES": "TICKETS_TOKEN",
                "LOG_LEVEL": "DEBUG",
            }
        )
        for name, value in DECLARED.items():
            stack.call("PUT", f"/secrets/{name}", {"value": value})
        site = {
            "name": "site",
            "type": "http",
            "configuration": {
                "allowed_hosts": ["127.0.0.1"],
                "private_networks": ["127.0.0.0/8"],
                "headers": {"X-Api-Key": "{{.secret.IN_SKILL}}"},
            },
        }
        there = {"cwd": str(workspace), "taint": "off"}  # no call waits for a person
        dsn = "postgres://app:{{.secret.IN_DSN}}@db.test/kube-system"
        declared = stack.agent(
            "declared",
            skills=[SHELL, site],
            configuration={
                **there,
                "mcp_servers": {"configured": local("configured", [], SITE_PASSWORD="{{.secret.IN_CONFIGURATION}}")},
            },
            execution_environment={
                "env_vars": {"OURS": "{{.secret.IN_AGENT}}", "sort_key": ORDINARY[1]},
                "mcp_servers": {
                    "local": local("local", ["--key={{.secret.IN_ARGS}}"], MCP_TOKEN="{{.secret.IN_ENV}}", DSN=dsn),
                    "remote": {"url": f"{echo}/mcp", "headers": {"Authorization": "Bearer {{.secret.IN_HEADER}}"}},
                },
            },
        )
        tell = script(
            ("shell", {"command": "cat attacks"}),
            ("shell", {"command": "sh -c 'env > variables; env'"}),
            ("look", {"path": str(workspace / "looked")}),
            confess("local"),
            confess("configured"),
            ("mcp__remote__echo", {}),
            ("http_request", {"url": f"{echo}/page"}),
        )
        of_run = {
            "NOBODY_SAID_DSN": f"amqp://worker:{OF_RUN['NOBODY_SAID_DSN']}@queue.test/kube-system",
            "REQUEST_LINE": f"GET / {OF_RUN['REQUEST_LINE']}",
        }
        first = stack.execute(tell, agent=declared, execution_environment={"env_vars": of_run})
        undeclared = stack.agent("undeclared", skills=[SHELL], configuration=there)
        stack.store(  # the API refuses this, as test_open_credentials.py shows
            "agents",
            undeclared,
            execution_environment={
                "env_vars": {"SITE": f"mysql://app:{UNDECLARED['dsn']}@db.test/kube-system"},
                "mcp_servers": {
                    "open": local("open", [], SITE_PASSWORD=UNDECLARED["env"]),
                    "bearer": {"url": f"{echo}/mcp", "headers": {"Authorization": f"Bearer {UNDECLARED['bearer']}"}},
                },
            },
        )
        shell = ("shell", {"command": "sh -c 'env > open_variables; env'"})
        second = stack.execute(script(shell, confess("open"), ("mcp__bearer__echo", {})), agent=undeclared)
        job = stack.call(
            "POST",
            "/jobs",
            {
                "name": "told",
                "trigger_type": "webhook",
                "webhook_secret": WEBHOOK,
                "entity_type": "agent",
                "entity_id": stack.agent("jobber", skills=[SHELL], configuration=there),
                "prompt_template": script(
                    ("shell", {"command": "cat attacks_of_job"}),
                    ("shell", {"command": "sh -c 'env > job_variables; env'"}),
                ),
                "execution_environment": {"env_vars": {"JOB_TOKEN": "{{.secret.IN_JOB}}"}},
            },
        )
        answer = stack.http.post(
            f"{stack.url}{job['webhook_url_path']}", json={}, headers={"X-Gitlab-Token": WEBHOOK}, timeout=30
        )
        third = answer.json()["execution_id"]
        rows = [stack.wait(execution, timeout=120) for execution in (first, second, third)]

        places = said(stack, first, second, third)
        for route in ("/agents", "/jobs", "/secrets", "/audit/export"):
            places[route] = stack.http.get(f"{stack.url}/api/v1{route}", timeout=30).content
        places["history"] = asyncio.run(histories(stack.temporal_address))
        for name, process in {"server": stack.server, "temporal": stack.temporal}.items():
            assert process is not None
            places[f"log of the {name}"] = "\n".join(process.lines).encode()
        # Supervisor, guard and worker. An MCP server has what its definition gives it.
        ours = [each.pid for each in daemons.processes() if str(tmp_path / "chatty.py") not in each.cmdline()]
        assert len(ours) >= 3 or sys.platform != "linux"
        places["environments"] = environments([*ours, *(each.pid for each in stack.processes)])
        bundle = tmp_path / "bundle.tar.gz"
        done = daemons.run("worker", "support-bundle", "--output", str(bundle), timeout=180)
        places |= {"the bundle's screen": (done.stdout + done.stderr).encode(), **packed(bundle)}
        # A stdio server's own arguments are its command line.
        places["command lines"] = "\n".join(line for line in argv if "--key=" not in line).encode()
        kept = {stack.folder / "key", stack.folder / "secrets.key", bundle}
        for path in sorted(tmp_path.rglob("*")):
            if path.is_file() and path not in kept and workspace not in path.parents:
                places[f"file {path.relative_to(tmp_path)}"] = path.read_bytes()

    assert [row["status"] for row in rows] == ["completed"] * 3, rows
    # This test itself has written the open definition into the database, and the API shows a definition as it is.
    stored = {place for place in places if place.startswith("file cp.db") or place == "/agents"}
    allowed = {secrets.index(value) for value in UNDECLARED.values()}
    found = {
        place: set(leaks(data, secrets)) - (allowed if place in stored else set()) for place, data in places.items()
    }
    assert {place: [secrets[n] for n in numbers] for place, numbers in found.items() if numbers} == {}
    for place in ("file cp.db", "file temporal.db", "file home/.kubiya/workers/default/logs/worker.log"):
        assert len(places[place]) > 1000, place
    # All were used, and told: the same run without redaction would be full of them.
    used = "\n".join(path.read_text() for path in workspace.iterdir() if path.is_file() and path.name not in known)
    missing = {value for value in (*DECLARED.values(), *OF_RUN.values(), *UNDECLARED.values()) if value not in used}
    assert missing == {DECLARED["IN_HEADER"], DECLARED["IN_SKILL"], UNDECLARED["bearer"]}, "which only the servers saw"
    events = {one: places[f"/api/v1/executions/{one}/events?after=0"].decode() for one in (first, second, third)}
    assert events[first].count(REDACTED) > 100 and events[second].count(REDACTED) >= 3 and REDACTED in events[third]
    assert f"called with {REDACTED}" in events[first]
    assert (events[first].count(f"with {REDACTED}"), events[second].count(f"with {REDACTED}")) == (2, 1)
    assert all(word in events[first] for word in ORDINARY), "ordinary values stay readable"
    # Code in the worker sees only the variable that was kept for it.
    looked = (workspace / "looked").read_text()
    assert set(leaks(looked.encode(), list(OF_WORKER.values()))) == {list(OF_WORKER).index("TICKETS_TOKEN")}
    assert leaks((workspace / "variables").read_bytes(), [*OF_WORKER.values(), stack.key]) == []
