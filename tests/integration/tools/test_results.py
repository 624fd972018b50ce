"""A real worker bounds what tools return and raise: large results go to a file, and no error ends the execution."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import psutil

from tests.support.stack import Stack

RAISING = '''
import asyncio
from kubiya_worker.extensions import tool


def raising(name, error):
    def sync() -> str:
        """Raise."""
        raise error()

    async def asynchronous() -> str:
        """Raise."""
        raise error()

    tool(name=f"sync_{name}")(sync)
    tool(name=f"async_{name}")(asynchronous)


class Odd(Exception):
    def __str__(self):
        raise SystemExit(9)


for name, error in {
    "exit": SystemExit,
    "interrupt": KeyboardInterrupt,
    "cancelled": asyncio.CancelledError,
    "generator": GeneratorExit,
    "stop": StopIteration,
    "text": lambda: ValueError("half \\ud800 \\0 " + "x" * 3_000_000),
    "odd": Odd,
}.items():
    raising(name, error)
'''
NAMES = ("exit", "interrupt", "cancelled", "generator", "stop", "text", "odd")


def test_what_a_tool_raises_costs_its_call_and_a_large_result_is_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "raising.py").write_text(RAISING)
    raised = [{"name": f"{kind}_{name}", "arguments": {}} for name in NAMES for kind in ("sync", "async")]
    large = {"name": "shell", "arguments": {"command": "seq 1 40000"}}
    prompt = "demo:script " + json.dumps([{"tools": raised}, {"tools": [large]}, {"text": "All is well."}])
    shell: dict[str, Any] = {"type": "shell", "name": "shell", "configuration": {"allowed_commands": ["seq"]}}
    with Stack(tmp_path) as stack:
        worker = stack.worker(KUBIYA_EXTENSIONS=str(tmp_path / "raising.py"))
        execution = stack.execute(prompt, agent=stack.agent("breaker", skills=[shell]))
        events = list(stack.events(execution))
        assert events[-1]["data"]["response"] == "All is well."
        done = [event["data"] for event in events if event["event"] == "tool_completed"]
        assert [each["status"] for each in done] == ["failed"] * len(raised) + ["success"]
        assert all(len(json.dumps(each)) < 20_000 for each in done)
        session = stack.call("GET", f"/executions/{execution}/session")
        (message,) = [m for m in session["messages"] if m.get("tool_name") == "shell"]
        path = done[-1]["tool_result"]["output_file"]
        assert path in message["content"] and len(message["content"]) < 52_000
        assert "\n2\n" in message["content"] and "\n40000" in message["content"]
        file = tmp_path / "workspaces" / execution / path
        assert file.read_text().split() == [str(n) for n in range(1, 40_001)]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert psutil.pid_exists(worker.pid)
