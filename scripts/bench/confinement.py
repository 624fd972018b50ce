"""Measure what the confinement adds to the start of a program: confined and unconfined in turn, until it runs.

A program of `shell` or `python` uses the ruleset of its profile, which is kept for 30 seconds. A stdio MCP server is
started by a launcher, once per session. The last rows are whole calls of the tools.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from kubiya_worker.tools.base import ToolContext
from kubiya_worker.tools.confinement import profile, spawn, support
from kubiya_worker.tools.confinement.process_profile import Profile
from kubiya_worker.tools.processes import programs
from kubiya_worker.tools.toolset import build_toolset
from scripts.bench.report import Row, Spread, alternate, main

TRUE: Final = "/bin/true"
MOST: Final = 10.0  # ms that a program's start may take longer


def started(argv: Sequence[str] = (TRUE,)) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL)


def start(start: Callable[[], subprocess.Popen[bytes]]) -> float:
    """Return the milliseconds until the program was started. Its end is awaited, and not counted."""
    began = time.perf_counter()
    process = start()
    took = time.perf_counter() - began
    process.wait()
    return took * 1000


def whole(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def launched(limits: Profile) -> None:
    with spawn.launched(limits, TRUE, [TRUE]) as argv:
        started(argv).wait()


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
        server = alternate(rounds, lambda: whole(lambda: launched(limits)), lambda: whole(lambda: started().wait()))
        shell, python = calls("shell", command="true"), calls("run_python", code="1")
        programs.close()
    return [
        row("start of a program", kept),
        row("the first start of a profile, once in 30 s: its ruleset is made", made, ""),
        row("start and end of an MCP server's process by the launcher, once per session", server, ""),
        row("a whole call of `shell`", shell),
        row("a whole call of `run_python`", python),
    ]


if __name__ == "__main__":
    main("confinement", __doc__, measure)
