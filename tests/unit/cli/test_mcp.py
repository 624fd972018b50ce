"""`kubiya mcp`: servers of agents and of files, tried without a run."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from kubiya_worker.cli import mcp as command
from kubiya_worker.cli.main import call

NASTY = str(Path(__file__).parents[2] / "cases" / "mcp" / "nasty.py")
DSN = "postgresql://admin:hunter22@db.test/x"


def server(*switches: str, **more: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": [NASTY, *switches], **more}


class Plane:
    """Two agents, as the control plane tells of them, and what else has servers."""

    def __init__(
        self,
        servers: dict[str, dict[str, Any]],
        teams: dict[str, dict[str, Any]] | None = None,
        environments: dict[str, dict[str, Any]] | None = None,
        stored: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self.servers, self.of_teams, self.stored = servers, teams or {}, stored or {}
        self.of_environments = environments or {}
        self.tried: list[tuple[str, dict[str, Any]]] = []

    def objects(self, path: str) -> list[dict[str, Any]]:
        if path == "/agents":
            return [{"id": name, "name": name, "configuration": {}} for name in self.servers]
        if path == "/teams":
            return [{"id": f"id of {name}", "name": name, "configuration": {}} for name in self.of_teams]
        if path == "/environments":
            return [
                {"id": f"id of {name}", "name": name, "execution_environment": {"mcp_servers": servers}}
                for name, servers in self.of_environments.items()
            ]
        if path == "/mcp-servers":
            return [{"id": f"id of {name}", "name": name, **server} for name, server in self.stored.items()]
        assert path == "/worker-queues"
        return [{"id": "id of eu-1", "name": "eu-1"}]

    objects_or_none = objects

    def ask(self, method: str, path: str) -> dict[str, Any]:
        _, route, kind, entity_id, _, _ = path.split("/")
        assert (method, route) == ("GET", "execution-environment")
        servers = self._servers(kind.removesuffix("s"), unquote(entity_id))
        return {"env_vars": {"WORD": "of-the-agent"}, "mcp_servers": servers}

    def object(self, method: str, path: str, body: dict[str, Any], *, timeout: tuple[float, float]) -> dict[str, Any]:
        self.tried.append((path.removesuffix("/test"), body))
        tools = [{"name": "echo", "description": "", "parameters": ["text*"]}]
        told = {"ok": True, "error": None, "seconds": 0.1, "tools": tools, "transport": "stdio", "notices": []}
        return {**told, "instructions": None, "queue": body["queue"], "host": "build-7"}

    def _servers(self, kind: str, entity_id: str) -> dict[str, Any]:
        return self.of_teams[entity_id.removeprefix("id of ")] if kind == "team" else self.servers[entity_id]


def run(*argv: str) -> int:
    return call(command.mcp_, list(argv))


def of_file(tmp_path: Path, servers: Any, key: str = "mcpServers") -> str:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({key: servers}))
    return str(path)


def test_a_file_is_listed_without_its_secrets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    servers = {"a": server(DSN), "off": server(enabled=False), "bad": {"command": "x", "nope": 1}}
    assert run("ls", of_file(tmp_path, servers)) == 0
    shown = capsys.readouterr().out
    assert "hunter22" not in shown and "db.test/x" in shown and "`nope`" in shown and "off" in shown
    assert run("ls", of_file(tmp_path, servers, "servers"), "-o", "json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["state"][:5] for row in rows] == ["on", "off", "wrong"]


def test_a_server_is_tried_and_says_what_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = of_file(tmp_path, {"n": server("bad-tool", "odd-names", "instructions", DSN)})
    assert run("test", file, "--call", "query", "--arguments", '{"_filter": "a"}', "-o", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] and {tool["name"] for tool in told["tools"]} == {"echo", "pid", "argv", "env", "query"}
    assert "no_schema" in told["notices"][0] and "OPS-" in told["instructions"]
    assert told["call"]["output"] == 'query {"$filter": "a"}'
    assert run("test", file, "--call", "mcp__n__argv") == 0
    shown = capsys.readouterr().out
    assert "hunter22" not in shown and "db.test/x" in shown and "echo(s)" in shown and "no_schema" in shown


def test_a_server_that_cannot_be_used_is_exit_code_69(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = of_file(tmp_path, {"db": server("fail-start", DSN), "fine": server()})
    assert run("test", file) == 69
    shown = capsys.readouterr().out
    assert "hunter22" not in shown and "could not connect" in shown and "fine" in shown
    assert run("test", file, "--server", "fine") == 0
    assert run("test", file, "--server", "fine", "--call", "nothing") == 69
    assert "it has no tool 'nothing'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ("{", 78, "is not JSON"),
        ("[]", 78, "holds no object"),
        ('{"mcpServers": {}}', 64, "has no MCP servers"),
        ('{"mcpServers": {"x": {"nope": 1}}}', 78, "`nope`"),
        (None, 64, "cannot be read"),
    ],
)
def test_a_file_that_is_wrong_is_one_line(
    content: str | None, code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    assert run("test", str(path)) == code
    told = capsys.readouterr()
    assert said in told.out + told.err and "Traceback" not in told.err and len(told.err.splitlines()) <= 1


def test_servers_of_agents_by_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    word = {"env": {"WORD": "{{WORD}}"}}
    plane = Plane({"one": {"a": server(**word), "b": server()}, "two": {"a": server(**word), "b": server("image")}})
    monkeypatch.setattr(command, "connect", lambda: plane)
    assert run("ls", "-o", "json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["server"], row["owners"]) for row in rows] == [("a", ["one", "two"]), ("b", ["one"]), ("b", ["two"])]
    assert run("test", "a", "--call", "env", "-o", "json") == 0
    assert "of-the-agent" in json.loads(capsys.readouterr().out)["call"]["output"]
    assert run("test", "a", "--env", "WORD=mine", "--call", "env", "-o", "json") == 0
    assert '"WORD": "mine"' in json.loads(capsys.readouterr().out)["call"]["output"]
    assert run("test", "b") == 64 and "Choose with --agent" in capsys.readouterr().err
    assert run("test", "b", "--agent", "two", "--call", "screenshot") == 0
    assert "image/png" in capsys.readouterr().out
    assert run("test", "c") == 64 and "There are: a, b" in capsys.readouterr().err
    assert run("test", "a", "--env", "NOT_SET_ANYWHERE_X") == 64


def test_stored_servers_and_those_of_teams_and_environments_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own, team, around, stored = server(DSN), server("image"), server("odd-names"), server("instructions")
    plane = Plane(
        {"one": {"own": own}},
        {"triage": {"of-team": team, "by-name": stored}},
        {"eu": {"around": around, "named": {"ref": "shared"}}},
        {"shared": stored, "own": server("bad-tool")},
    )
    monkeypatch.setattr(command, "connect", lambda: plane)
    assert run("ls", "-o", "json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["server"], row["owners"], row["stored"]) for row in rows] == [
        ("around", ["environment eu"], False),
        ("of-team", ["team triage"], False),
        ("own", [], True),
        ("own", ["one"], False),
        ("shared", ["team triage"], True),
    ]
    assert run("test", "shared") == 0
    shown = capsys.readouterr().out
    assert "instructions: " in shown and f"tested by this host, {socket.gethostname()}" in shown
    assert run("test", "own") == 0 and "no_schema" in capsys.readouterr().out  # the stored one, as `kubiya mcp edit`
    assert run("test", "own", "--agent", "one", "--call", "argv") == 0 and DSN[:10] in capsys.readouterr().out
    assert run("test", "of-team", "--agent", "triage") == 0
    capsys.readouterr()

    # A worker makes the test where what has the server says it.
    for name, agent in (("shared", ()), ("own", ("--agent", "one")), ("of-team", ()), ("around", ())):
        assert run("test", name, *agent, "--queue", "eu-1") == 0
        shown = capsys.readouterr().out
        assert "echo(text*)" in shown and "tested by a worker of the queue eu-1, host build-7" in shown
    queue = {"queue": "eu-1"}
    assert plane.tried == [
        ("/mcp-servers/shared", queue),
        ("/agents/one", {**queue, "mcp_server": "own"}),
        ("/teams/id%20of%20triage", {**queue, "mcp_server": "of-team"}),
        ("/environments/id%20of%20eu", {**queue, "mcp_server": "around"}),
    ]
    assert run("test", "shared", "--queue", "eu-1", "--call", "echo") == 64
    assert "Leave out --call" in capsys.readouterr().err
    assert run("test", "no.json", "--queue", "eu-1") == 64
