"""A worker with the default settings: what a tool's process gets of its keys, of its memory and of other executions.

The tools are those of a real run: `shell`, `python`, a stdio MCP server, and a program that an extension starts.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from kubiya_worker.tools.confinement import support
from tests.process.tools.test_confined_servers import SERVER
from tests.process.worker.test_confinement import without_landlock
from tests.support.demo_scripts import script
from tests.support.stack import Stack

pytestmark = pytest.mark.skipif(not support.probe().abi, reason=f"no confinement here: {support.probe().reason}")

PLANTED = "marmalade in the morning"  # no form of a key: it is not hidden in what tools return
EXTENSION = '''
from kubiya_worker.extensions import ToolContext, run_program, tool


@tool(risk="low")
async def look(path: str, context: ToolContext) -> str:
    """Read a file with a program."""
    return (await run_program(context, ["cat", path])).output
'''


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("default")
    (folder / ".kubiya").mkdir()
    (folder / ".kubiya" / "key").write_text(PLANTED)
    (folder / ".kubiya" / "custom_activities.py").write_text(EXTENSION)
    other = folder / "workspaces" / "another"
    other.mkdir(parents=True)
    (other / "notes").write_text(PLANTED)
    with Stack(folder) as running:
        yield running


def read_by_each_tool(stack: Stack, queue: str, pid: int) -> list[str]:
    """Have every kind of tool read what is private, and return what each call answered."""
    home = stack.folder
    places = [f"{home}/.kubiya/key", f"{home}/workspaces/another/notes", f"/proc/{pid}/environ"]
    (home / "server.py").write_text(SERVER)
    skills = [
        {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"]}},
        {"name": "python", "type": "python", "configuration": {}},
    ]
    servers = {"files": {"command": sys.executable, "args": ["-u", str(home / "server.py")]}}
    agent = stack.make_agent(
        f"reader-{queue}",
        skills,
        {"execution_environment": {"mcp_servers": servers}, "configuration": {"taint": "off"}},
    )
    calls: list[dict[str, Any]] = []
    for place in places:
        hidden = f"cat {place[:-1]}?"  # a pattern, so that the tool's own checks do not see the path
        calls += [
            {"name": "shell", "arguments": {"command": f"sh -c '{hidden}'"}},
            {"name": "run_python", "arguments": {"code": f"print(open({place!r}).read())"}},
            {"name": "mcp__files__read", "arguments": {"path": place}},
            {"name": "mcp__files__run", "arguments": {"path": place}},
            {"name": "look", "arguments": {"path": place}},
        ]
    prompt = script(*({"tools": [call]} for call in calls), {"text": "Done."})
    execution = stack.execute(prompt, agent=agent, queue=queue)
    assert stack.wait(execution)["response"] == "Done."
    done = [event["data"] for event in stack.events(execution) if event["event"] == "tool_completed"]
    assert len(done) == len(calls)
    assert "denied" not in {each["outcome"] for each in done}, done
    return [json.dumps(each.get("tool_output")) + str(each.get("tool_error")) for each in done]


def test_no_tool_reads_a_key_another_workspace_or_the_worker(stack: Stack) -> None:
    worker = stack.worker(SEEN=PLANTED)
    worker.expect("confinement.on")
    answers = read_by_each_tool(stack, "default", worker.pid)
    assert [answer for answer in answers if PLANTED in answer] == []
    assert not [answer for answer in answers if "KUBIYA_API_KEY" in answer]


def test_without_it_the_same_calls_find_them(stack: Stack) -> None:
    """The test above can fail: it is the confinement that stops it."""
    queue = stack.queue("open")
    worker = stack.worker(queue, SEEN=PLANTED, KUBIYA_CONFINEMENT="off")
    worker.expect("confinement.off")
    answers = read_by_each_tool(stack, queue, worker.pid)
    of_key_and_workspace = answers[:10]  # five tools each
    assert all(PLANTED in answer for answer in of_key_and_workspace), answers


def test_a_run_says_where_the_kernel_cannot(stack: Stack) -> None:
    queue = stack.queue("unable")
    worker = without_landlock(stack.worker, queue)
    worker.expect("confinement.missing")
    skills = [{"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["cat"]}}]
    agent = stack.make_agent("unable", skills, {})
    execution = stack.execute(script({"text": "Done."}), agent=agent, queue=queue)
    assert stack.wait(execution)["response"] == "Done."
    said = [str(event["data"].get("message")) for event in stack.events(execution) if event["event"] == "notice"]
    assert [line for line in said if line.startswith("Tools of this run are not confined: the kernel has Landlock")]
