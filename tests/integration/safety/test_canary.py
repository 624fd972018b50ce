"""X1: a secret appears nowhere, in no form: command lines, environments, logs, events, histories, pages.

One run in which everything repeats every secret in every form of tests/unit/tools/data/leaks.txt: the model in small
pieces of text and thought and in a tool's arguments, tools by their output and by breaking, the endpoint by refusing
the key. What was said meanwhile is decoded and searched by `leak_check.py`, which shares
no code with the redactor.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from temporalio.client import Client

from kubiya_worker.leak_check import leaks
from kubiya_worker.models.leaked_keys import MASK
from kubiya_worker.tools.redaction import REDACTED
from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Stack
from tests.unit.tools.leaks import BENIGN, LEAKS, filled

MODEL_KEY = 'sk-can/4ry+K3y=q\\u0041"z<9>'
OTHER_KEY = "ant-canary-0aB9xYw7LmN5pQr2"  # of a provider that is not used
TOOL_SECRET = "gh0_canary/e+o %41&x:tab"
SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 30}}
ASK = {"name": "ask", "scope_type": "tool", "scope_value": "shell", "argument_pattern": "approve", "action": "ask"}
BREAKING = '''
import os
import pathlib
import subprocess
from kubiya_worker.extensions import tool

@tool(risk="low")
def breaking(path: str) -> str:
    """Reads a file, and breaks over it; before, it writes what it finds in the worker's own process."""
    seen = [repr(dict(os.environ)), subprocess.run(["env"], capture_output=True, text=True).stdout]
    seen += [pathlib.Path("/proc/self/environ").read_bytes().decode()] if os.path.exists("/proc/self/environ") else []
    pathlib.Path(path + ".seen").write_text("\\n".join(seen))
    try:
        raise KeyError(open(path).read())
    except KeyError as error:
        raise RuntimeError(f"it said: {error}") from error
'''


@contextlib.contextmanager
def command_lines() -> Iterator[set[str]]:
    """Collect the command lines of all processes, 50 times a second, until the test ends."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    seen.add("\n".join(process.cmdline()))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join(10)


async def histories(address: str) -> bytes:
    """All that Temporal keeps: the events of all workflows, their payloads and failures as they are."""
    client = await Client.connect(address)
    found: list[bytes] = []
    async for workflow in client.list_workflows():
        history = await client.get_workflow_handle(workflow.id, run_id=workflow.run_id).fetch_history()
        found += [event.SerializeToString() for event in history.events]
    return b"\n".join(found)


def said(stack: Stack, *executions: str) -> dict[str, bytes]:
    """By its place, all that a person can read of the executions."""
    found: dict[str, bytes] = {}

    def get(path: str, **headers: str) -> None:
        found[path] = stack.http.get(f"{stack.url}{path}", headers=headers, timeout=30).content

    for execution in executions:
        for path in ("", "/session", "/events?after=0", "/workflow"):
            get(f"/api/v1/executions/{execution}{path}")
        get(f"/api/v1/analytics/executions/{execution}/details")
        get(f"/api/v1/executions/{execution}/stream", **{"Last-Event-ID": "0"})
    for path in ("/api/v1/executions", "/api/v1/approvals", "/api/v1/workers", "/api/v1/worker-queues", "/metrics"):
        get(path)
    for path in ("/", *(f"/static/{name}" for name in ("page.js", "api.js", "stream.js", "timeline.js", "text.js"))):
        get(path)
    return found


def test_a_secret_appears_nowhere(tmp_path: Path) -> None:
    (tmp_path / "breaking.py").write_text(BREAKING)
    workspace = tmp_path / "work"
    workspace.mkdir()
    with ModelEndpoint() as endpoint, Stack(tmp_path) as stack, command_lines() as argv:
        secrets = [stack.key, MODEL_KEY, OTHER_KEY, TOOL_SECRET]
        worker = stack.worker(
            OPENAI_BASE_URL=endpoint.url,
            OPENAI_API_KEY=MODEL_KEY,
            ANTHROPIC_API_KEY=OTHER_KEY,
            KUBIYA_EXTENSIONS=str(tmp_path / "breaking.py"),
            LOG_LEVEL="DEBUG",
        )
        attacks = "\n".join(filled(case, secret) for secret in secrets for case in LEAKS)
        of_worker = "\n".join(filled(case, secret) for secret in secrets[:2] for case in LEAKS)
        (workspace / "attacks").write_text(attacks)
        (workspace / "benign").write_text("\n".join(BENIGN))
        stack.call("POST", "/approval-rules", ASK)
        stack.call("PUT", "/secrets/TOOL", {"value": TOOL_SECRET})
        agent = stack.agent(
            model_id="scripted",
            skills=[SHELL],
            configuration={"cwd": str(workspace)},
            execution_environment={"env_vars": {"GITHUB_TOKEN": "{{.secret.TOOL}}", "PLAIN": "plain value"}},
        )

        def shell(command: str) -> dict[str, Any]:
            return {"name": "shell", "arguments": {"command": command}}

        endpoint.by_step = [
            {"tools": [shell("cat attacks"), shell("cat benign"), shell("sh -c 'env > environment; env'")]},
            {
                "text": of_worker,
                "chunk": 13,
                "thinking": of_worker,
                "tools": [shell("cat no")],
            },
            {"text": "", "tools": [shell(f"echo approve {stack.key} {MODEL_KEY.replace(chr(34), '')}")]},
            {"text": "", "tools": [{"name": "breaking", "arguments": {"path": str(workspace / "attacks")}}]},
            {
                "text": "",
                "tools": [{"name": f"none-{stack.key}", "arguments": {}}, {"name": "shell", "arguments": MODEL_KEY}],
            },
            {"text": of_worker + "\n" + "\n".join(BENIGN), "chunk": 9},
        ]
        first = stack.execute("Say all that you know.", agent=agent)
        asked = stack.first(first, "approval_requested")
        stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
        done = stack.wait(first, timeout=120)
        repeated = filled("Incorrect API key: {{plain}}, {{base64_0}}, {{url}}", MODEL_KEY)
        endpoint.by_step = [{"status": 400, "body": {"error": {"message": repeated}}}]
        second = stack.execute("Refuse.", agent=agent)
        refused = stack.wait(second)
        places = said(stack, first, second)
        places["history"] = asyncio.run(histories(stack.temporal_address))
        for name, process in {"worker": worker, "server": stack.server, "temporal": stack.temporal}.items():
            assert process is not None
            places[f"log of the {name}"] = "\n".join(process.lines).encode()
        places["command lines"] = "\n".join(argv).encode()
        environment = (workspace / "environment").read_text()
        in_process = (workspace / "attacks.seen").read_text()

    assert done["status"] == "completed" and refused["status"] == "failed", (done, refused)
    found = {place: leaks(data, secrets) for place, data in places.items()}
    assert {place: numbers for place, numbers in found.items() if numbers} == {}
    # The same run with the redactor off would be full of them: everything was said, and in every place.
    for place in (f"/api/v1/executions/{first}/events?after=0", "history", f"/api/v1/executions/{first}/session"):
        assert places[place].count(REDACTED.encode()) > 100, place
    assert f"Incorrect API key: {MASK}, {MASK}, {MASK}" in refused["error_message"]
    assert b"RuntimeError: it said" in places[f"/api/v1/executions/{first}/events?after=0"]
    assert "\n".join(BENIGN) in done["response"]
    # Code inside the worker finds none of them in its environment, nor in that of a program that it starts.
    assert "PATH" in in_process and leaks(in_process.encode(), secrets) == []
    # A tool has what was meant for it, and nothing of the worker's.
    assert f"GITHUB_TOKEN={TOOL_SECRET}" in environment and leaks(environment.encode(), secrets[:3]) == []
