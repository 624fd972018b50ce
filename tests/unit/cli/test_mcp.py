"""`kubiya mcp`: servers of agents and of files, tried without a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.cli import mcp as command
from kubiya_worker.cli.main import call

NASTY = str(Path(__file__).parents[2] / "cases" / "mcp" / "nasty.py")
DSN = "postgresql://admin:hunter22@db.test/x"


def server(*switches: str, **more: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": [NASTY, *switches], **more}


class Plane:
    """Two agents, as the control plane tells of them."""

    def __init__(self, servers: dict[str, dict[str, Any]]) -> None:
        self.servers = servers

    def agents(self) -> list[dict[str, Any]]:
        return [{"id": name, "name": name, "configuration": {}} for name in self.servers]

    def mcp_servers(self) -> list[dict[str, Any]]:
        return []

    def find(self, kind: str, name: str) -> dict[str, Any]:
        return next(agent for agent in self.agents() if agent["name"] == name)

    def full_environment(self, kind: str, entity_id: str) -> dict[str, Any]:
        return {"env_vars": {"WORD": "of-the-agent"}, "mcp_servers": self.servers[entity_id]}


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
