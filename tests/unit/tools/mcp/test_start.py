"""This module checks what is said of a server whose program cannot be started."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubiya_worker.tools import mcp
from kubiya_worker.tools.confinement import support


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
