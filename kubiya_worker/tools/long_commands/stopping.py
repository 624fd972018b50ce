"""Stop a long command, say why an outcome is not known, and end what a killed keeper has left."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from typing import Final

from kubiya_worker._supervisor.posix import kernel, markers, processes
from kubiya_worker.tools.long_commands import keeper_place
from kubiya_worker.tools.long_commands.folder import CommandFolder
from kubiya_worker.tools.processes import programs
from kubiya_worker.tools.processes.cleanup import MARKER

WITHIN: Final = programs.GRACE + 8.0  # seconds from the request until the outcome is on the disk, on a busy host


def stop(command: CommandFolder, why: str) -> bool:
    """Ask the keeper to end its command, and keep the reason. Return whether there was a keeper to ask."""
    about = command.read("keeper")
    if not command.is_held() or not about:
        return False
    with suppress(OSError):
        command.write("stop", {"why": why})
    table = processes.table()

    def still_it() -> bool:
        now = table.one(int(about["pid"]))
        return now is not None and now.start == about.get("start") and table.boot() == about.get("boot")

    with suppress(PermissionError):
        return kernel.signal_process(int(about["pid"]), signal.SIGTERM, still_it)
    return False


def why_lost(command: CommandFolder) -> str:
    """Return why nobody knows how a command ended whose keeper holds no lock and has left no outcome."""
    about = command.read("keeper")
    if about.get("boot") != processes.table().boot():
        return "the host was started again while the command ran; it runs no more"
    if about.get("namespace") != keeper_place.namespace():
        return "the container in which the command ran has ended; it runs no more"
    return "its keeper was killed, and the command was ended with it"


def end_leftovers(command: CommandFolder) -> int:
    """Kill what is left of a command whose keeper was killed together with its cleanup process. Return how many."""
    about = command.read("keeper")
    mark = str(about.get("mark") or "")
    if not mark or about.get("boot") != processes.table().boot():
        return 0
    left = markers.pids_with(f"{MARKER}={mark}.".encode())
    for pid in left:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return len(left)


def remove(command: CommandFolder) -> None:
    """Remove the folder of a command that no keeper holds."""
    shutil.rmtree(command.path, ignore_errors=True)
