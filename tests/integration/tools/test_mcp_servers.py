"""MCP against servers that nobody here wrote: from npm and PyPI, over stdio, streamable HTTP and SSE.

They are installed for the run; where npm or the package index is not to be had, the tests are skipped.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from kubiya_worker.tools import mcp
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult
from kubiya_worker.tools.mcp.pool import SessionPool
from tests.support.stack import Process, Stack, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NPM = ("@modelcontextprotocol/server-everything", "@modelcontextprotocol/server-filesystem")
PYPI = ("mcp-server-time", "mcp-server-fetch")


@pytest.fixture(scope="module")
def npm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("npm")
    program = shutil.which("npm")
    if program is None:
        pytest.skip("npm is not installed")

    done = subprocess.run(
        [program, "install", "--no-audit", "--no-fund", *NPM], cwd=folder, capture_output=True, text=True, timeout=240
    )
    if done.returncode:
        pytest.skip(f"npm cannot install the servers: {done.stderr.strip()[-200:]}")
    return folder / "node_modules" / ".bin"


@pytest.fixture(scope="module")
def pypi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pypi") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    done = subprocess.run(
        [str(folder / "bin" / "pip"), "install", "-q", *PYPI], capture_output=True, text=True, timeout=240
    )
    if done.returncode:
        pytest.skip(f"pip cannot install the servers: {done.stderr.strip()[-200:]}")
    return folder / "bin"


@pytest.fixture
async def pool() -> AsyncIterator[SessionPool]:
    pool = SessionPool()
    yield pool
    await pool.close()


async def tools_of(
    pool: SessionPool, servers: dict[str, Any], workspace: Path, **env: str
) -> tuple[dict[str, Tool], list[str]]:
    parsed = mcp.parse(servers)
    found = await mcp.discover(parsed, pool, env, workspace, [], owner="e1")
    return {tool.spec.name: tool for tool in mcp.tools_of(found.specs, parsed, pool)}, found.faults


def context(workspace: Path, **env: str) -> ToolContext:
    return ToolContext("e1", "c1", workspace, env)


def processes(part: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and any(part in word for word in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


async def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def test_servers_of_pypi_list_and_answer(pypi: Path, pool: SessionPool, tmp_path: Path) -> None:
    servers = {
        "time": {"command": str(pypi / "mcp-server-time"), "args": ["--local-timezone", "UTC"], "timeout": 45},
        "fetch": {"command": str(pypi / "mcp-server-fetch"), "timeout": 45},
        "gone": {"command": "/nonexistent/server"},
        "dies": {"command": sys.executable, "args": ["-c", "raise SystemExit('no licence found')"], "timeout": 45},
    }
    tools, faults = await tools_of(pool, servers, tmp_path)
    assert {"mcp__time__get_current_time", "mcp__time__convert_time", "mcp__fetch__fetch"} <= set(tools)
    assert len(faults) == 2, faults
    assert "'gone' cannot be used: the program /nonexistent/server" in faults[0]
    assert "no licence found" in faults[1], faults
    result = await tools["mcp__time__get_current_time"].run({"timezone": "UTC"}, context(tmp_path))
    assert result.error is None and json.loads(result.output)["timezone"] == "UTC"
    wrong = await tools["mcp__time__get_current_time"].run({"timezone": "Nowhere"}, context(tmp_path))
    assert wrong.error and "Nowhere" in wrong.error


async def test_servers_of_npm_work_on_files_and_see_a_clean_environment(
    npm: Path, pool: SessionPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBIYA_API_KEY", "kby_of_the_worker")
    folder = tmp_path / "files"
    folder.mkdir()
    servers = {
        "fs": {
            "command": str(npm / "mcp-server-filesystem"),
            "args": ["{{FOLDER}}"],
            "write_paths": [str(folder)],
            "timeout": 45,
        },
        "all": {
            "command": str(npm / "mcp-server-everything"),
            "args": ["stdio"],
            "env": {"TOKEN": "{{.secret.TOKEN}}"},
            "timeout": 45,
        },
    }
    env = {"FOLDER": str(folder), "TOKEN": "s3cret"}
    tools, faults = await tools_of(pool, servers, tmp_path, **env)
    assert faults == []
    write = await tools["mcp__fs__write_file"].run(
        {"path": str(folder / "a.txt"), "content": "hello"}, context(tmp_path, **env)
    )
    assert write.error is None and (folder / "a.txt").read_text() == "hello"
    outside = await tools["mcp__fs__read_file"].run({"path": "/etc/passwd"}, context(tmp_path, **env))
    assert outside.error and "denied" in outside.error
    seen = (await tools["mcp__all__get-env"].run({}, context(tmp_path, **env))).output
    assert "s3cret" in seen and "kby_of_the_worker" not in seen
    image = await tools["mcp__all__get-tiny-image"].run({}, context(tmp_path, **env))
    assert [file.type for file in image.files] == ["image/png"]


@pytest.fixture
def everything(npm: Path, tmp_path: Path) -> Iterator[Callable[[str], int]]:
    started: list[Process] = []

    def start(transport: str) -> int:
        port = free_port()
        server = Process([str(npm / "mcp-server-everything"), transport], {"PORT": str(port)}, tmp_path)
        started.append(server)
        server.expect(r"listening|running on", 60)
        return port

    yield start
    for server in started:
        server.kill()


@pytest.mark.parametrize(("program", "kind", "path"), [("streamableHttp", "http", "/mcp"), ("sse", "sse", "/sse")])
async def test_remote_servers_answer(
    program: str, kind: str, path: str, everything: Callable[[str], int], pool: SessionPool, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{everything(program)}{path}"
    tools, faults = await tools_of(
        pool, {"far": {"transport_type": kind, "url": url, "headers": {"X": "1"}, "timeout": 45}}, tmp_path
    )
    assert faults == []
    assert (await tools["mcp__far__echo"].run({"message": "hi"}, context(tmp_path))).output == "Echo: hi"


async def test_a_session_is_shared_reopened_when_it_died_and_closed_when_idle(pypi: Path, tmp_path: Path) -> None:
    program = str(pypi / "mcp-server-time")
    pool = SessionPool(idle=3.0)
    try:
        tools, faults = await tools_of(pool, {"time": {"command": program, "timeout": 45}}, tmp_path)
        assert faults == []
        tool = tools["mcp__time__get_current_time"]

        async def ask() -> ToolResult:
            return await tool.run({"timezone": "UTC"}, context(tmp_path))

        assert all(result.error is None for result in await asyncio.gather(*(ask() for _ in range(5))))
        (server,) = processes(program)
        server.kill()
        await until(lambda: not processes(program))
        results = [await ask() for _ in range(2)]
        assert results[-1].error is None, results
        assert len(processes(program)) == 1
        await until(lambda: not processes(program))
        assert pool.open_count == 0
    finally:
        await pool.close()


async def test_a_call_whose_server_dies_is_told_the_outcome_is_unknown(
    npm: Path, pool: SessionPool, tmp_path: Path
) -> None:
    program = str(npm / "mcp-server-everything")
    tools, _ = await tools_of(pool, {"all": {"command": program, "args": ["stdio"], "timeout": 45}}, tmp_path)
    tool = tools["mcp__all__trigger-long-running-operation"]
    begun = asyncio.Event()
    watched = replace(context(tmp_path), tell=lambda line: begun.set() if line.startswith("1 of 60") else None)
    work = asyncio.create_task(tool.run({"duration": 60, "steps": 60}, watched))
    while not work.done():  # the tool says `readOnlyHint`, so it is called once more
        waiting = asyncio.create_task(begun.wait())
        await asyncio.wait({work, waiting}, timeout=120, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        begun.clear()
        for process in processes(program):
            process.kill()
    result = await asyncio.wait_for(work, 60)
    assert result.error and "outcome is unknown" in result.error


async def test_closing_the_pool_leaves_no_process(pypi: Path, tmp_path: Path) -> None:
    pool, program = SessionPool(), str(pypi / "mcp-server-time")
    await tools_of(pool, {"time": {"command": program, "timeout": 45}}, tmp_path)
    assert len(processes(program)) == 1
    await pool.close()
    assert not processes(program)


async def test_an_agent_uses_a_server_and_its_process_ends_with_the_worker(pypi: Path, tmp_path: Path) -> None:
    program = str(pypi / "mcp-server-time")
    servers = {"time": {"command": program, "timeout": 45}, "gone": {"command": "/nonexistent/server"}}
    call = {"name": "mcp__time__get_current_time", "arguments": {"timezone": "UTC"}}
    prompt = "demo:script " + json.dumps([{"tools": [call]}, {"text": "It is late."}])

    def run() -> None:
        with Stack(tmp_path) as stack:
            worker = stack.worker()
            agent = stack.agent("clock", execution_environment={"mcp_servers": servers})
            execution = stack.execute(prompt, agent=agent)
            events = list(stack.events(execution))
            assert events[-1]["data"]["response"] == "It is late."
            done = next(e["data"] for e in events if e["event"] == "tool_completed")
            assert done["status"] == "success" and "UTC" in done["tool_output"]
            notice = next(e["data"] for e in events if e["event"] == "notice")
            assert "'gone' cannot be used" in notice["message"]
            assert len(processes(program)) == 1
            second = stack.worker()  # one that did not list the tools runs the call all the same
            os.kill(worker.pid, signal.SIGKILL)
            deadline = time.monotonic() + 60
            while processes(program):
                assert time.monotonic() < deadline, "the server outlived its worker"
                time.sleep(0.05)
            assert stack.wait(stack.execute(prompt, agent=agent))["response"] == "It is late."
            assert len(processes(program)) == 1
            second.signal(signal.SIGTERM)
            assert second.wait() == 0
            assert not processes(program)

    await asyncio.to_thread(run)
