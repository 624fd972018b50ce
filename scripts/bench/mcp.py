"""Five MCP servers at once: how soon their tools are there, and what memory they take, in a fresh process each time.

The servers are `tests/cases/mcp/nasty.py` without a switch, in standard Python. Baseline: the SDK alone, which opens
the same five with `stdio_client` and `ClientSession`, lists their tools, and holds them open.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from scripts.bench.report import Row, Spread, main
from tests.support.stack import ROOT

SERVERS = 5
EXECUTIONS = 4  # one after the other, each with its own five servers
NASTY = ROOT / "tests" / "cases" / "mcp" / "nasty.py"

HEAD = f"""
import asyncio, json, os, sys, tempfile, time
from pathlib import Path
import psutil
COUNT, NASTY = {SERVERS}, {str(NASTY)!r}
me = psutil.Process()

def memory():
    return me.memory_info().rss / 2**20

def children():
    count = size = 0
    for process in me.children(recursive=True):
        try:
            if any("nasty.py" in word for word in process.cmdline()):
                count, size = count + 1, size + process.memory_info().rss
        except psutil.Error:
            continue  # it has just ended
    return count, size / 2**20
"""
OURS = """
from kubiya_worker.tools import mcp
servers = mcp.parse({f"s{n}": {"command": sys.executable, "args": [NASTY]} for n in range(COUNT)})

async def main():
    before, folder, pool = memory(), Path(tempfile.mkdtemp()), mcp.SessionPool()
    began = time.perf_counter()
    found = await mcp.discover(servers, pool, {}, folder, [], owner="e0")
    cold = time.perf_counter() - began
    held, (count, taken) = memory() - before, children()
    assert len(found.specs) == COUNT * 4 and count == COUNT, found
    warm = []
    for number in range(1, EXECUTIONS):
        pool.release(f"e{number - 1}")
        began = time.perf_counter()
        await mcp.discover(servers, pool, {}, folder, [], owner=f"e{number}")
        warm.append(time.perf_counter() - began)
    pool.release(f"e{number}")
    began = time.perf_counter()
    while children()[0] and time.perf_counter() - began < 20:
        await asyncio.sleep(0.02)
    gone, left = time.perf_counter() - began, children()[0]
    await pool.close()
    print(json.dumps({"cold": cold, "warm": warm, "held": held, "servers": taken, "gone": gone, "left": left}))
"""
BARE = """
from contextlib import AsyncExitStack

async def main():
    before = memory()

    async def once():
        began = time.perf_counter()
        from mcp.client.session import ClientSession
        from mcp.client.stdio import StdioServerParameters, stdio_client

        async def one():
            async with stdio_client(StdioServerParameters(command=sys.executable, args=[NASTY])) as streams:
                async with ClientSession(*streams) as client:
                    await client.initialize()
                    await client.list_tools()
                    listed.release()
                    await over.wait()

        listed, over = asyncio.Semaphore(0), asyncio.Event()
        tasks = [asyncio.create_task(one()) for _ in range(COUNT)]
        for _ in tasks:
            await listed.acquire()
        took = time.perf_counter() - began
        state = memory() - before, children()[1]
        over.set()
        await asyncio.gather(*tasks)
        return took, *state

    cold, held, taken = await once()
    warm = [(await once())[0] for _ in range(1, EXECUTIONS)]
    print(json.dumps({"cold": cold, "warm": warm, "held": held, "servers": taken}))
"""


def one(code: str) -> dict[str, Any]:
    """Run it in a process of its own."""
    whole = f"{HEAD}\nEXECUTIONS = {EXECUTIONS}\n{code}\nasyncio.run(main())\n"
    done = subprocess.run([sys.executable, "-c", whole], check=True, capture_output=True, text=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(quick: bool) -> list[Row]:
    ours, bare = [], []
    for _ in range(1 if quick else 7):
        ours.append(one(OURS))
        bare.append(one(BARE))

    def row(what: str, unit: str, key: str, *, compared: bool = True) -> Row:
        base = Spread.of([value for run in bare for value in _values(run[key])]) if compared else None
        here = Spread.of([value for run in ours for value in _values(run[key])])
        return Row("MCP", what, unit, here, "the SDK alone" if compared else "", base)

    return [
        row(f"{SERVERS} servers listed, the first time (imports the SDK)", "s", "cold"),
        row(f"{SERVERS} servers listed, again", "s", "warm"),
        row("memory of the worker's process that they take", "MiB", "held"),
        row("memory of the server processes", "MiB", "servers"),
        row("from the end of the execution until its servers are gone", "s", "gone", compared=False),
        row(f"server processes left then, after {EXECUTIONS} executions", "", "left", compared=False),
    ]


def _values(value: Any) -> list[float]:
    return [float(item) for item in value] if isinstance(value, list) else [float(value)]


if __name__ == "__main__":
    main("mcp", __doc__, measure)
