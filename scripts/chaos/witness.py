"""An extension of the worker that bears witness: tools that write down each of their runs, and numbered log lines.

It is loaded by KUBIYA_EXTENSIONS and writes to CHAOS_EVIDENCE, a folder on a disk that no fault fills:

    births.jsonl     {pid, at}: a worker's process has begun
    runs.jsonl       {token, call, tool, pid, at}: a tool has taken effect
    written-<pid>    how many numbered lines this worker has written, as 8 bytes
"""

from __future__ import annotations

import asyncio
import datetime
import json
import mmap
import os
import struct
import threading
import time
from pathlib import Path

from kubiya_worker.extensions import ToolContext, tool

FOLDER = Path(os.environ["CHAOS_EVIDENCE"])
LINE_EVERY = 0.04  # seconds
PADDING = "x" * 40


def note(name: str, **fields: object) -> None:
    """One line, whole or not at all."""
    line = json.dumps({**fields, "pid": os.getpid(), "at": time.monotonic()}) + "\n"
    descriptor = os.open(FOLDER / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


@tool(risk="low", idempotent=True, taints=False, effects=())
async def look(token: str, context: ToolContext) -> str:
    """Look at something; may be done again."""
    note("runs.jsonl", token=token, call=context.tool_call_id, tool="look")
    await asyncio.sleep(0.3)
    return f"nothing new about {token}"


@tool(risk="high", idempotent=False, taints=False)
async def sign(token: str, context: ToolContext) -> str:
    """Sign something; never twice."""
    note("runs.jsonl", token=token, call=context.tool_call_id, tool="sign")
    await asyncio.sleep(0.4)
    return f"signed {token}"


def number_lines() -> None:
    """Write numbered lines to the worker's log. A line counts when the pipe has taken it."""
    path = FOLDER / f"written-{os.getpid()}"
    path.write_bytes(bytes(8))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 8) as counter:
        for number in range(1, 1 << 40):
            now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            line = f"{now} info chaos.line pid={os.getpid()} n={number} {PADDING} end\n"
            try:
                if os.write(1, line.encode()) != len(line):
                    return
            except OSError:
                return  # its supervisor is gone
            counter[:] = struct.pack("<q", number)
            time.sleep(LINE_EVERY)


note("births.jsonl")
threading.Thread(target=number_lines, name="witness", daemon=True).start()
