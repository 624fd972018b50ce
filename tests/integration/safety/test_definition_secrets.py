"""A4: what a definition references is in no history, no database, no event, no log and no command line, in no form."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from kubiya_worker.leak_check import leaks
from kubiya_worker.tools.redaction import REDACTED
from tests.integration.safety.test_canary import command_lines, histories, said
from tests.support import databases
from tests.support.stack import Stack

SERVER = """
import os
import sys
from mcp.server import MCPServer

server = MCPServer("chatty")


@server.tool()
def confess(site: str) -> str:
    told = [os.environ["MCP_TOKEN"], os.environ["DSN"], *sys.argv[1:], os.environ["PLAIN"]]
    open(site, "w").write("\\n".join(told))
    return " | ".join(told)


server.run()
"""
VALUES = {
    "IN_ENV": "can4ry/env+V4l=%1",
    "IN_DSN": "can4ry-dsn.V4l_2",
    "IN_CONFIGURATION": "can4ry&configuration?V4l=4",
    "IN_VARIABLE": 'can4ry"variable\\V4l5',
}
OF_THE_RUN = "can4ry-of-the-run-V4l6"
SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 30}}


def test_secrets_of_definitions_are_nowhere_but_where_they_are_used(tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text(SERVER)
    workspace = tmp_path / "work"
    workspace.mkdir()

    def server(*names: str) -> dict[str, object]:
        return {
            "command": sys.executable,
            "args": [str(tmp_path / "chatty.py"), *(f"--key={{{{.secret.{name}}}}}" for name in names)],
            "env": {
                "MCP_TOKEN": "{{.secret.IN_ENV}}",
                "DSN": "postgres://app:{{.secret.IN_DSN}}@db.test/kube-system",
                "PLAIN": "production",
            },
            "timeout": 45,
        }

    calls = [
        {"name": "mcp__first__confess", "arguments": {"site": str(workspace / "first")}},
        {"name": "mcp__second__confess", "arguments": {"site": str(workspace / "second")}},
        {"name": "shell", "arguments": {"command": "sh -c 'env > shell; env'"}},
    ]
    prompt = "demo:script " + json.dumps([{"tools": calls}, {"text": "Nobody heard."}])
    secrets = [*VALUES.values(), OF_THE_RUN]
    with Stack(tmp_path) as stack:
        worker = stack.worker(LOG_LEVEL="DEBUG")
        for name, value in VALUES.items():
            stack.call("PUT", f"/secrets/{name}", {"value": value})
        agent = stack.agent(
            "confessor",
            skills=[SHELL],
            configuration={"cwd": str(workspace), "mcp_servers": {"second": server("IN_CONFIGURATION")}},
            execution_environment={
                "env_vars": {"OURS": "{{.secret.IN_VARIABLE}}"},
                "mcp_servers": {"first": server()},
            },
        )
        with command_lines() as argv:
            execution = stack.execute(prompt, agent=agent, execution_environment={"env_vars": {"RUN_KEY": OF_THE_RUN}})
            done = stack.wait(execution, timeout=120)
            places = said(stack, execution)
            places["the agent"] = stack.http.get(f"{stack.url}/api/v1/agents/{agent}", timeout=30).content
            places["the list of secrets"] = stack.http.get(f"{stack.url}/api/v1/secrets", timeout=30).content
            places["audit"] = stack.http.get(f"{stack.url}/api/v1/audit/export", timeout=30).content
            places["history"] = asyncio.run(histories(stack.temporal_address))
            for name, process in {"worker": worker, "server": stack.server, "temporal": stack.temporal}.items():
                assert process is not None
                places[f"log of the {name}"] = "\n".join(process.lines).encode()
            ours = [line for line in argv if "--key=" not in line]  # a server's own arguments are its command line
            places["command lines"] = "\n".join(ours).encode()
            places["database"] = databases.stored(stack.database)
    assert done["status"] == "completed", done
    assert b"confessor" in places["database"]
    found = {place: leaks(data, secrets) for place, data in places.items()}
    assert {place: numbers for place, numbers in found.items() if numbers} == {}
    # Each was used, and everybody was told of it, without the values; ordinary ones are shown.
    used = "\n".join((workspace / name).read_text() for name in ("first", "second", "shell"))
    assert [value for value in secrets if value not in used] == []
    events = places[f"/api/v1/executions/{execution}/events?after=0"].decode()
    assert events.count(REDACTED) >= 5 and "@db.test/kube-system" in events and "production" in events
