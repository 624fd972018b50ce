"""Measure what the confinement adds to the start of a program: confined and unconfined in turn, until it runs.

A program uses the ruleset of its profile, which is kept for 30 seconds. A stdio MCP server has pipes too, and is
measured from its start to its end. The last rows are whole calls of the tools.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from kubiya_worker.tools.base import ToolContext
from kubiya_worker.tools.confinement import profile, spawn, support
from kubiya_worker.tools.mcp import stdio
from kubiya_worker.tools.processes import programs
from kubiya_worker.tools.toolset import build_toolset
from scripts.bench.report import Row, Spread, alternate, main

TRUE: Final = "/bin/true"
MOST: Final = 10.0  # ms that a program's start may take longer


def started() -> subprocess.Popen[bytes]:
    return subprocess.Popen([TRUE], stdin=subprocess.DEVNULL)


def piped() -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen([TRUE], bufsize=0, stdin=pipe, stdout=pipe, start_new_session=True)


def start(start: Callable[[], subprocess.Popen[bytes]]) -> float:
    """Return the milliseconds until the program was started. Its end is awaited, and not counted."""
    began = time.perf_counter()
    process = start()
    took = time.perf_counter() - began
    process.wait()
    return took * 1000


async def serve(start: Callable[[], subprocess.Popen[bytes]]) -> float:
    """Return the milliseconds from the start of a server that leaves at once until its session has ended."""
    began = time.perf_counter()
    async with stdio.spoken(start, noise=lambda line: None):
        pass
    return (time.perf_counter() - began) * 1000


def within(ours: Spread, base: Spread | None) -> bool:
    return base is not None and ours.median - base.median <= MOST


def measure(quick: bool) -> list[Row]:
    rounds = 5 if quick else 200
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        limits, context = profile.make(Path(folder)), ToolContext("bench", "call", Path(folder))
        skills = [
            {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["true"]}},
            {"name": "python", "type": "python", "configuration": {}},
        ]
        tools = build_toolset(skills, workspace=Path(folder))
        assert support.probe().works, support.line()

        def call(mode: str, name: str, **arguments: str) -> float:
            tool = tools.get(name)
            assert tool is not None
            support.use(mode)
            began = time.perf_counter()
            result = runner.run(tool.run(arguments, context))
            assert result.error is None, result.output
            return (time.perf_counter() - began) * 1000

        def row(what: str, pair: tuple[Spread, Spread], bar: str = f"at most {MOST:g} ms more") -> Row:
            return Row("A5", what, "ms", pair[0], "unconfined", pair[1], bar, within if bar else None)

        def calls(name: str, **arguments: str) -> tuple[Spread, Spread]:
            return alternate(
                rounds, lambda: call(support.PREFER, name, **arguments), lambda: call(support.OFF, name, **arguments)
            )

        def first() -> float:
            spawn.forget()
            return start(lambda: spawn.confined(limits, started))

        kept = alternate(rounds, lambda: start(lambda: spawn.confined(limits, started)), lambda: start(started))
        made = alternate(rounds, first, lambda: start(started))
        server = alternate(
            rounds,
            lambda: runner.run(serve(lambda: spawn.confined(limits, piped))),
            lambda: runner.run(serve(piped)),
        )
        shell, python = calls("shell", command="true"), calls("run_python", code="1")
        programs.close()
    return [
        row("start of a program", kept),
        row("the first start of a profile, once in 30 s: its ruleset is made", made, ""),
        row("start and end of an MCP server's process and its pipes, once per session", server),
        row("a whole call of `shell`", shell),
        row("a whole call of `run_python`", python),
    ]


if __name__ == "__main__":
    main("confinement", __doc__, measure)
