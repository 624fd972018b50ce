"""U4: an agent with MCP server, secret, rule, job and notification by one file of the docs, answered from a message."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.support.dev import Dev
from tests.support.receiver import Receiver
from tests.support.stack import ROOT

TOKEN = "of-the-ticket-system"
SERVER = f"""
import os
from mcp.server import MCPServer

server = MCPServer("tickets")


@server.tool()
def list_new() -> str:
    return "T-17: the printer" if os.environ["TOKEN"] == "{TOKEN}" else "wrong token"


server.run()
"""
CALLS = json.dumps([{"tools": [{"name": "mcp__tickets__list_new", "arguments": {}}]}, {"text": "T-17 is new."}])


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    running = Dev(tmp_path, KUBIYA_NOTIFY_NETWORKS="127.0.0.0/8")
    try:
        yield running.ready()
        running.stop()
    finally:
        running.process.kill()


def of_docs() -> tuple[list[dict[str, Any]], list[str]]:
    """Return the documents of the page's file, and the commands below it."""
    page = (ROOT / "docs" / "definitions.md").read_text().split("## All in one file")[1].split("\n## ")[0]
    text, commands = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("yaml", "bash"))
    assert text and commands
    lines = [line.split("  #")[0].rstrip() for line in commands[1].splitlines()]
    return list(yaml.safe_load_all(text[1])), lines


def test_one_file_and_one_command_to_an_answer_from_a_message(dev: Dev, receiver: Receiver, tmp_path: Path) -> None:
    documents, commands = of_docs()
    by_kind = {document["kind"]: document for document in documents}
    assert set(by_kind) == {"Secret", "Agent", "Rule", "Notification", "Job"}
    # What stands for the outside here: the ticket system, the phone, and what the model answers.
    (tmp_path / "tickets.py").write_text(SERVER)
    servers = by_kind["Agent"]["spec"]["configuration"]["mcp_servers"]
    own = {
        "command": sys.executable,
        "args": [str(tmp_path / "tickets.py")],
        "env": {"TOKEN": "{{.secret.TICKETS_TOKEN}}"},
    }
    servers["tickets"] = own
    by_kind["Notification"]["spec"]["channel"]["url"] = receiver.url
    by_kind["Job"]["spec"]["prompt_template"] = f"demo:script {CALLS}"
    (tmp_path / "tickets.yaml").write_text(yaml.safe_dump_all(documents))

    began, typed = time.monotonic(), 0
    for line in commands:
        typed += 1
        if line.startswith("export "):
            assert line == f"export TICKETS_TOKEN={TOKEN}"
            continue
        words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", line)]
        assert words[0] == "kubiya"
        done = dev.kubiya(*words[1:], TICKETS_TOKEN=TOKEN)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
    message = receiver.wait(1)[0].json
    assert message["topic"] == "ann-3f9c1a" and "list_new" in message["title"] + message["message"]
    approve = next(action for action in message["actions"] if action["label"] == "Approve")
    for expected in (200, 409):  # the phone presses it; a second time it counts no more
        pressed = requests.post(
            approve["url"],
            data=approve["body"],
            headers={**approve["headers"], "accept": "application/json"},
            timeout=30,
        )
        assert pressed.status_code == expected, pressed.text
    wait_for_end(dev)
    run = dev.newest()
    assert (run["status"], run["response"]) == ("completed", "T-17 is new.")
    (approval,) = dev.call("GET", f"/approvals?execution_id={run['id']}")
    assert approval["approved_by_email"] == "ann@example.com"
    events = json.dumps(dev.call("GET", f"/executions/{run['id']}/session"))
    assert "T-17: the printer" in events and TOKEN not in events
    assert typed == 4 and time.monotonic() - began < 60


def wait_for_end(dev: Dev) -> None:
    run = dev.newest()["id"]
    done = dev.kubiya("runs", "watch", run)
    assert done.returncode == 0, done.stdout + done.stderr
