"""The demo model with the worker's own tools: its commands are ones that these allow, and it reads what they answer."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.models.demo import plan
from kubiya_worker.protocol.messages import TOOL_FAILED, TOOL_SUCCESS, Message
from kubiya_worker.tools.base import ToolContext
from kubiya_worker.tools.toolset import build_toolset

DU = ["du", "find", "ps", "grep", "cat"]


def converse(prompt: str, workspace: Path, commands: list[str] | None, output_limit: int = 50_000) -> list[Message]:
    shell = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": commands} if commands else {}}
    files = {"name": "files", "type": "file_system", "configuration": {}}
    toolset = build_toolset([shell, files], workspace=workspace)
    messages: list[Message] = [{"role": "user", "content": prompt}]

    async def run(name: str, arguments: dict[str, Any], identity: str) -> tuple[str, str]:
        tool = toolset.get(name)
        assert tool is not None
        result = await tool.run(arguments, ToolContext("e1", identity, workspace, keep_limit=output_limit))
        return (TOOL_FAILED if result.error else TOOL_SUCCESS), result.output

    async def talk() -> list[Message]:
        while True:
            reply = plan(messages, toolset.specs)
            messages.append({"role": "assistant", "content": reply.content, "tool_calls": reply.tool_calls})
            if not reply.tool_calls:
                return messages
            assert len(messages) < 30
            for call in reply.tool_calls:
                status, content = await run(call["name"], json.loads(call["arguments"]), call["id"])
                messages.append(
                    {
                        "role": "tool",
                        "content": content,
                        "status": status,
                        "tool_call_id": call["id"],
                        "tool_name": call["name"],
                    }
                )

    return asyncio.run(talk())


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with a folder `data` whose largest file is data/deep/big one.log."""
    workspace = tmp_path / "workspace"
    for name, kib in {"deep/big one.log": 3000, "deep/er/second.sql": 1200, "third.tmp": 700}.items():
        file = workspace / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * kib * 1024)
    return workspace


def test_disk_task_from_start_to_answer(workspace: Path) -> None:
    messages = converse(f"find what fills the disk under {workspace}/data", workspace, DU)
    answer = messages[-1]["content"]
    assert answer.splitlines()[0].endswith(f"{workspace}/data/deep/big one.log, 2.9 MiB (61 %).")
    assert f"1. {workspace}/data/deep: 4.1 MiB (86 %)" in answer
    assert "The report is saved as disk-report.md" in answer
    assert "big one.log" in (workspace / "disk-report.md").read_text()


def test_an_output_that_was_cut_still_leads_to_the_right_file(workspace: Path) -> None:
    for number in range(400):
        (workspace / "data" / f"small-{number:03}").write_bytes(b"x")
    messages = converse(f"find what fills the disk under {workspace}/data", workspace, DU, output_limit=900)
    assert "characters left out" in messages[2]["content"]
    answer = messages[-1]["content"]
    files = answer.split("Largest files:")[1].splitlines()
    assert [line.split(": ")[0] for line in files[1:4]] == [
        f"1. {workspace}/data/deep/big one.log",
        f"2. {workspace}/data/deep/er/second.sql",
        f"3. {workspace}/data/third.tmp",
    ]
    assert f"{workspace}/data/deep: 4.1 MiB" in answer.split("Largest files:")[0]


def test_without_du_find_alone_does(workspace: Path) -> None:
    messages = converse(f"find what fills the disk under {workspace}/data", workspace, None)
    answer = messages[-1]["content"]
    assert "may not use du" in messages[4 - 1]["content"] + messages[4]["content"]
    assert answer.splitlines()[0].startswith(f"{workspace}/data holds 4.8 MiB.")
    assert f"1. {workspace}/data/deep: 4.1 MiB" in answer
    assert f"1. {workspace}/data/deep/big one.log: 2.9 MiB" in answer


def test_nothing_allowed_is_told(workspace: Path) -> None:
    answer = converse(f"find what fills the disk under {workspace}/data", workspace, ["echo"])[-1]["content"]
    assert answer.startswith(f"I could not measure {workspace}/data: The command find is not allowed")


def test_logs_and_processes(workspace: Path) -> None:
    (workspace / "app.log").write_text("1 ERROR gone\n2 fine\n")
    assert "1 lines" in converse(f"errors in {workspace}/app.log", workspace, DU)[-1]["content"]
    (workspace / "app.log").write_text("1 fine\n")
    assert "No errors" in converse(f"errors in {workspace}/app.log", workspace, DU)[-1]["content"]
    assert "processes run here" in converse("what uses memory?", workspace, DU)[-1]["content"]
    assert "has 1 lines" in converse("read ./app.log", workspace, DU)[-1]["content"]
