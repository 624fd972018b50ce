"""MCP clients that others have written start, follow, answer and cancel runs: by stdio and by HTTP.

They are installed for the run, in the versions of docs/mcp-clients.md; where npm or the package index is not to be
had, the tests are skipped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.demo_scripts import script
from tests.support.stack import BIN, ROOT, Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SDK, INSPECTOR, FASTMCP = "@modelcontextprotocol/sdk", "@modelcontextprotocol/inspector", "fastmcp"
VERSIONS: Final = {SDK: "1.32.2", INSPECTOR: "2.12.0", FASTMCP: "4.1.6"}
ASK: Final = {"name": "ask", "type": "ask_person"}
FILES: Final = {"name": "files", "type": "file_system"}
SLEEP: Final = {"name": "wait", "type": "sleep"}
QUESTION: Final = {"tools": [{"name": "ask_person", "arguments": {"question": "Which host?"}}]}
SAVE: Final = {"tools": [{"name": "save_file", "arguments": {"path": "a.txt", "content": "a"}}]}
LONG: Final = {"tools": [{"name": "sleep", "arguments": {"seconds": 600}}]}
Play = Callable[[dict[str, Any]], dict[str, Any]]


def installed(argv: list[str], folder: Path) -> None:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=400)
    if done.returncode:
        pytest.skip(f"{argv[0]} cannot install the clients: {done.stderr.strip()[-200:]}")


@pytest.fixture(scope="module")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clients of npm."""
    folder = tmp_path_factory.mktemp("npm")
    program = shutil.which("npm")
    if program is None:
        pytest.skip("npm is not installed")
    packages = [f"{name}@{VERSIONS[name]}" for name in (SDK, INSPECTOR)]
    installed([program, "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages], folder)
    shutil.copy(ROOT / "tests" / "support" / "mcp_sdk_driver.mjs", folder)
    return folder


@pytest.fixture(scope="module")
def pypi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the client of PyPI."""
    folder = tmp_path_factory.mktemp("pypi")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    installed([str(folder / "bin" / "pip"), "install", "-q", f"{FASTMCP}=={VERSIONS[FASTMCP]}"], folder)
    return folder / "bin" / "python"


def server_of(stack: Stack, way: str) -> dict[str, Any]:
    """Return how a client reaches the server, as a plan has it."""
    if way == "http":
        return {"url": f"{stack.url}/mcp", "headers": {"Authorization": f"Bearer {stack.key}"}}
    environment = {"KUBIYA_API_KEY": stack.key, "CONTROL_PLANE_URL": stack.url, "PATH": os.environ["PATH"]}
    return {"command": str(BIN / "kubiya"), "args": ["mcp", "serve"], "env": environment}


@pytest.fixture(params=[SDK, FASTMCP])
def play(request: pytest.FixtureRequest) -> Play:
    """Return what plays a plan with a client, in a program of its own."""
    if request.param == SDK:
        folder = request.getfixturevalue("npm")
        argv, place = ["node", "mcp_sdk_driver.mjs"], folder
    else:
        python = request.getfixturevalue("pypi")
        argv, place = [str(python), str(ROOT / "tests" / "support" / "fastmcp_driver.py")], python.parent

    def run(plan: dict[str, Any]) -> dict[str, Any]:
        done = subprocess.run(argv, cwd=place, input=json.dumps(plan), capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout.splitlines()[-1]))

    return run


def agent(stack: Stack, *skills: dict[str, Any]) -> str:
    name = f"helper-{uuid.uuid4().hex[:8]}"
    stack.agent(name, skills=list(skills))
    return name


@pytest.mark.parametrize("way", ["stdio", "http"])
def test_a_person_at_the_client_follows_a_run_and_answers_its_question_and_approval(
    stack: Stack, play: Play, way: str
) -> None:
    name = agent(stack, ASK, FILES)
    task = script(QUESTION, SAVE, {"text": "Done."})
    answers = [{"answer": "web-7"}, {"decision": "approve", "comment": "go"}]
    calls = [{"name": f"agent_{name}", "arguments": {"task": task}}]
    told = play({**server_of(stack, way), "answers": answers, "calls": calls})
    assert {"follow_execution", "send_message", "cancel_execution", f"agent_{name}"} <= set(told["tools"])
    (result,) = told["results"]
    assert not result["error"]
    assert (result["structured"]["status"], result["structured"]["answer"]) == ("completed", "Done.")
    assert "Which host?" in told["shown"][0]
    assert "save_file" in told["shown"][1]
    assert "runs ask_person" in told["progress"]
    done = [e["data"] for e in stack.events(result["structured"]["execution_id"]) if e["event"] == "tool_completed"]
    assert [each["status"] for each in done] == ["success", "success"]
    assert done[0]["tool_output"] == "web-7"


@pytest.mark.parametrize("way", ["stdio", "http"])
def test_a_client_without_forms_leaves_it_to_the_inbox_and_follows_later(stack: Stack, play: Play, way: str) -> None:
    name = agent(stack, FILES)
    calls = [{"name": f"agent_{name}", "arguments": {"task": script(SAVE, {"text": "Done."})}}]
    told = play({**server_of(stack, way), "answers": None, "calls": calls})
    (waiting,) = told["results"]
    assert "waits for a person, in the inbox" in waiting["text"]
    (asked,) = waiting["structured"]["waiting_for"]
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {"reason": "a test"})
    follow = {"name": "follow_execution", "arguments": {"execution_id": waiting["structured"]["execution_id"]}}
    (result,) = play({**server_of(stack, way), "answers": None, "calls": [follow]})["results"]
    assert (result["structured"]["status"], result["structured"]["answer"]) == ("completed", "Done.")


@pytest.mark.parametrize("way", ["stdio", "http"])
def test_a_client_cancels_a_run_that_it_has_started(stack: Stack, play: Play, way: str) -> None:
    name = agent(stack, SLEEP)
    calls = [
        {"name": f"agent_{name}", "arguments": {"task": script(LONG, {"text": "Done."}), "wait_seconds": 0}},
        {"name": "cancel_execution", "arguments": {}, "follows": True},
        {"name": "follow_execution", "arguments": {}, "follows": True},
    ]
    told = play({**server_of(stack, way), "answers": None, "calls": calls})
    assert told["results"][-1]["structured"]["status"] == "cancelled"


@pytest.mark.parametrize("way", ["stdio", "http"])
def test_the_inspector_starts_follows_and_cancels(stack: Stack, npm: Path, way: str) -> None:
    name = agent(stack, SLEEP)
    plan = server_of(stack, way)
    if way == "http":
        server = [plan["url"], "--transport", "http", "--header", f"Authorization: {plan['headers']['Authorization']}"]
    else:
        server = [*(word for key, value in plan["env"].items() for word in ("-e", f"{key}={value}"))]
        server = [plan["command"], *plan["args"], *server]

    def asked(*arguments: str) -> dict[str, Any]:
        argv = [str(npm / "node_modules" / ".bin" / "mcp-inspector"), "--cli", *server, *arguments]
        environment = {**os.environ, "HOME": str(npm)}
        done = subprocess.run(argv, cwd=npm, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr + done.stdout
        return dict(json.loads(done.stdout[done.stdout.index("{") :]))

    def called(tool: str, **arguments: str) -> dict[str, Any]:
        given = [word for key, value in arguments.items() for word in ("--tool-arg", f"{key}={value}")]
        return asked("--method", "tools/call", "--tool-name", tool, *given)

    listed = asked("--method", "tools/list")
    assert f"agent_{name}" in {tool["name"] for tool in listed["tools"]}
    finished = called(f"agent_{name}", task=script({"text": "Done."}))
    assert finished["structuredContent"]["answer"] == "Done."
    started = called(f"agent_{name}", task=script(LONG, {"text": "Done."}), wait_seconds="0")
    execution = started["structuredContent"]["execution_id"]
    called("cancel_execution", execution_id=execution)
    ended = called("follow_execution", execution_id=execution)
    assert ended["structuredContent"]["status"] == "cancelled"


def test_the_docs_name_the_versions_that_were_tried() -> None:
    page = (ROOT / "docs" / "mcp-clients.md").read_text()
    for name, version in VERSIONS.items():
        assert re.search(rf"`{re.escape(name)}` {re.escape(version)}\b", page), name
