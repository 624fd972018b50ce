"""The keeper of one long command: a program of its own, which outlives the worker that started it.

It gets its order as JSON on standard input, and the lock of the command's folder as a descriptor. It leaves the
worker's tree of processes (a second fork, a session of its own), names itself to the supervisor (`kept.py`), runs the
command as `programs.run_pipe` does for a call of `shell`, and writes the outcome. SIGTERM stops the command.

Its environment has nothing of the worker's: no keys, and none of the marks by which leftovers of a worker are ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final, NoReturn

import psutil

from kubiya_worker._supervisor.posix import kept, kernel, processes
from kubiya_worker.tools.confinement import support
from kubiya_worker.tools.confinement.process_profile import Profile
from kubiya_worker.tools.long_commands import keeper_place
from kubiya_worker.tools.long_commands.folder import CommandFolder
from kubiya_worker.tools.long_commands.output import SegmentedOutput
from kubiya_worker.tools.processes import programs

REAP_EVERY: Final = 10.0  # seconds between looks for orphans of the command that have ended


def main() -> NoReturn:
    """Read the order, leave the worker's tree, and keep the command. Does not return."""
    code = 70
    try:
        text = sys.stdin.buffer.read()
        order = json.loads(text)  # a worker that was killed while it wrote has started nothing
        if os.fork() == 0:
            _keep(order)
        code = 0
    finally:
        os._exit(code)


def _keep(order: dict[str, Any]) -> None:
    folder = CommandFolder(Path(order["folder"]))
    kernel.become_subreaper()
    kernel.forbid_dumps()
    kernel.name_process("keeper")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    table = processes.table()
    own = table.one(os.getpid())
    name = kept.name(Path(order["keep"]), os.getpid(), table) if order["keep"] else None
    try:
        about = {"pid": os.getpid(), "start": own.start if own else "", "boot": table.boot()}
        folder.write("keeper", {**about, "namespace": keeper_place.namespace(), "mark": programs.token()})
        folder.reserve("outcome")  # the command itself may fill the disk
        os.environ.pop(programs.SUPERVISOR_RUN, None)
        support.use(order["confinement"])
        folder.write("outcome", asyncio.run(_run(order, folder)))
    finally:
        if name is not None:
            name.unlink(missing_ok=True)


async def _run(order: dict[str, Any], folder: CommandFolder) -> dict[str, Any]:
    """Run the command to its end, and return the outcome."""
    output = SegmentedOutput(folder.path)
    began = time.monotonic()
    task = asyncio.ensure_future(_command(order, output))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    reaping = asyncio.create_task(_reap())
    if folder.read("stop"):  # the worker has given the start up, and has said so
        sys.exit(75)
    folder.write("started", {"at": time.time()})
    with contextlib.suppress(BrokenPipeError):  # the worker that waits for this may be gone
        os.write(1, b"started\n")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)  # the worker's end of the pipe is of no use from here on
    outcome: dict[str, Any] = {"code": None, "codes": [], "timed_out": False, "left": []}
    try:
        ended = await task
        outcome = {"code": ended.code, "codes": ended.codes, "timed_out": ended.timed_out, "left": ended.left}
    except asyncio.CancelledError:
        outcome["stopped"] = folder.read("stop").get("why") or "it was asked to end by SIGTERM"
    except (OSError, ValueError) as error:
        outcome["fault"] = str(error)
    finally:
        reaping.cancel()
        output.close()
        await asyncio.to_thread(programs.close)
    lost = {"lost_bytes": output.lost_bytes, "lost_why": output.fault} if output.fault else {}
    return {**outcome, **lost, "at": time.time(), "seconds": round(time.monotonic() - began, 3)}


async def _command(order: dict[str, Any], output: SegmentedOutput) -> programs.ProgramResult:
    confinement = order["profile"]
    fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in (confinement or {}).items()}
    pipe = programs.Pipe(
        [programs.Program(program["executable"], tuple(program["argv"])) for program in order["programs"]],
        cwd=Path(order["cwd"]),
        env=order["env"],
        profile=Profile(**fields) if confinement else None,
        input_text=order["input"],
    )
    return await programs.run_pipe(
        pipe, timeout=order["timeout"], output_limit=1, call_id=order["tool_call_id"], sink=output
    )


async def _reap() -> None:
    while True:
        await asyncio.sleep(REAP_EVERY)
        _reap_orphans()


def _reap_orphans() -> None:
    """Take away orphans of the command that have ended; as their subreaper this process is their parent."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error, ChildProcessError):
            if child.pid not in programs.own_children() and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)


if __name__ == "__main__":
    main()
