"""This module checks what is said of a server whose program cannot be started, and what a given up start leaves."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.tools import mcp
from kubiya_worker.tools.confinement import support
from kubiya_worker.tools.mcp import stdio


@pytest.mark.parametrize("mode", [support.OFF, support.PREFER])
@pytest.mark.parametrize(
    ("content", "rights", "words"),
    [
        (b"\x7fELF of another machine", 0o755, "cannot be started: Exec format error; It is made for another kind"),
        (b"echo no first line of a script", 0o755, "cannot be started: Exec format error; It is made for another kind"),
        (b"#!/no/such/interpreter\n", 0o755, "cannot be started: what its first line (`#!`) names is not on this host"),
        (b"#!/bin/sh\n", 0o644, "cannot be started: Permission denied; Install it"),
    ],
)
async def test_a_program_that_cannot_be_started_is_named(
    mode: str, content: bytes, rights: int, words: str, tmp_path: Path
) -> None:
    program = tmp_path / "server"
    program.write_bytes(content)
    program.chmod(rights)
    before, private = support.mode(), support.private()
    support.use(mode, private)
    pool = mcp.SessionPool()
    try:
        found = await mcp.discover(mcp.parse({"s": {"command": str(program)}}), pool, {}, tmp_path / "workspace", [])
    finally:
        await pool.close()
        support.use(before, private)
    [fault] = map(str, found.faults)
    assert f"the program {program} " in fault and words in fault.replace(". ", "; "), fault


async def test_a_start_that_is_given_up_leaves_neither_process_nor_pipe() -> None:
    begun, go_on = threading.Event(), threading.Event()
    made: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        begun.set()
        assert go_on.wait(60)
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
        made.append(subprocess.Popen(["cat"], **pipes, start_new_session=True))
        return made[0]

    async def speak() -> None:
        async with stdio.spoken(start, lambda line: None):
            raise AssertionError("it was given up before")

    task = asyncio.create_task(speak())
    await asyncio.to_thread(begun.wait, 60)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    [process] = made
    assert process.stdin is not None and process.stdin.closed
    assert process.stdout is not None and process.stdout.closed
    assert process.returncode == -signal.SIGKILL
