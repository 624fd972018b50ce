"""Credentials of an MCP server that their names do not give away: a server that tells all, and nobody hears it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.stack import ROOT, Stack

SERVER = """
import os
from mcp.server import MCPServer

server = MCPServer("chatty")


@server.tool()
def confess(site: str) -> str:
    return f"{os.environ['SITE_CODE']} and {os.environ['PASSPHRASE'].encode().hex()} of {site}"


server.run()
"""
SITE_CODE, PASSPHRASE = "zq81-site-canary", "sesame-open-canary"


def test_what_a_server_was_given_is_in_no_event_and_no_result(tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text(SERVER)
    servers = {
        "chatty": {
            "command": sys.executable,
            "args": [str(tmp_path / "chatty.py")],
            "env": {"SITE_CODE": "{{.secret.SITE}}", "PASSPHRASE": PASSPHRASE},
            "timeout": 120,
        }
    }
    calls = [
        {"name": "mcp__chatty__confess", "arguments": {"site": f"x {SITE_CODE}"}},
        {"name": "mcp__chatty__confess", "arguments": {"place": SITE_CODE}},
    ]
    prompt = "demo:script " + json.dumps([{"tools": calls}, {"text": "Nobody heard."}])
    with Stack(tmp_path) as stack:
        stack.worker()
        environment = {"env_vars": {"SITE": SITE_CODE}, "mcp_servers": servers}
        agent = stack.agent("confessor")
        stack.store("agents", agent, execution_environment=environment)  # the API refuses the open passphrase
        execution = stack.execute(prompt, agent=agent)
        events = list(stack.events(execution))
        session = stack.call("GET", f"/executions/{execution}/session")
    tools = [event for event in events if event["event"].startswith("tool_")]
    outputs = [event["data"].get("tool_output") for event in tools if event["event"] == "tool_completed"]
    assert "[redacted] and [redacted] of x [redacted]" in outputs, tools
    shown = json.dumps([tools, [m for m in session["messages"] if m["role"] == "tool"]])
    for secret in (SITE_CODE, PASSPHRASE, SITE_CODE.encode().hex(), PASSPHRASE.encode().hex()):
        assert secret not in shown


def test_a_process_that_has_used_tools_ends_without_a_warning() -> None:
    """The guard of its programs is ended with it."""
    use = "from kubiya_worker.tools.processes import programs; programs.marks('x')"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", use], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
