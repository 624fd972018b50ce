"""Processes that may outlive a run. The child names each of them in a file; guard and supervisor leave them alone.

The folder is in the child's environment (`VARIABLE`). A file there holds {"pid", "start", "boot"}. It counts only while
exactly this process runs, for it and for all below it. Only the worker's own processes can write into the folder.
"""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Final

from . import files, processes
from .processes import Process, Table

VARIABLE: Final = "SUPERVISOR_KEEP"
GRACE: Final = 4.0  # seconds from SIGTERM to SIGKILL for those that may not outlive the supervisor either
SETTLE: Final = 3.0  # seconds after SIGKILL; a process in uninterruptible sleep may survive it
LOOK_EVERY: Final = 0.02


def name(folder: Path, pid: int, source: Table) -> Path:
    """Write the file for a process, and return its path. Raises OSError."""
    process = source.one(pid)
    if process is None:
        raise ProcessLookupError(f"no process {pid} runs")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{pid}.json"
    files.replace(path, json.dumps({"pid": pid, "start": process.start, "boot": source.boot()}))
    return path


def named(folder: str, source: Table) -> list[Process]:
    """Return the processes that the folder names and that still run. Files of others are removed."""
    pids = []
    boot = ""
    for path in sorted(Path(folder).glob("*.json")) if folder else ():
        boot = boot or source.boot()
        process = _of_file(path, boot, source)
        if process is None:
            path.unlink(missing_ok=True)
        else:
            pids.append(process)
    return pids


def without(left: list[Process], folder: str, source: Table) -> list[Process]:
    """Return the processes of `left` that are neither named nor below a named one."""
    if not left or not folder:
        return left
    among = {process.pid: process for process in left}
    keepers = [process for process in named(folder, source) if among.get(process.pid, process).start == process.start]
    spared = {process.pid for process in keepers}
    for process in keepers:
        spared |= {child.pid for child in processes.below(among, process.pid)}
    return [process for process in left if process.pid not in spared]


def ask_to_end(folder: str, source: Table) -> None:
    """Send SIGTERM to all that the folder names."""
    processes.signal_all(source, named(folder, source), signal.SIGTERM)


def await_end(folder: str, source: Table, seconds: float) -> list[Process]:
    """Wait until none runs that the folder names, for so long at most; return those that still do."""
    deadline = time.monotonic() + seconds
    while (left := named(folder, source)) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
    return left


def end(folder: str, source: Table) -> int:
    """End all that the folder names: SIGTERM, then SIGKILL. Return how many there were."""
    pids = named(folder, source)
    if pids:
        ask_to_end(folder, source)
        left = await_end(folder, source, GRACE)
        processes.signal_all(source, left, signal.SIGKILL)
        await_end(folder, source, SETTLE if left else 0.0)
    return len(pids)


def _of_file(path: Path, boot: str, source: Table) -> Process | None:
    try:
        record = json.loads(files.read(path))
        pid, start = int(record["pid"]), str(record["start"])
    except (ValueError, TypeError, KeyError):
        return None
    process = source.one(pid) if record.get("boot") == boot else None
    return process if process is not None and process.start == start and not process.zombie else None
