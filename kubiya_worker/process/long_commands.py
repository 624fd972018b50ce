"""The watch over commands that outlive the worker: which run, which have to end, and which are old enough to go.

Each worker of a queue watches all commands in its folder, whoever has started them. One whose execution is over, in
whatever way (an answer, a cancellation, `stop all`, a workflow that was terminated), is ended within seconds, or by the
next worker. When Temporal cannot be asked, nothing is ended; the keeper ends its command at its own time limit.

What ends commands is imported where there is one to end: it loads the code of tools, which no start waits for.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from kubiya_worker.protocol import names
from kubiya_worker.tools.long_commands import folder as folders
from kubiya_worker.tools.long_commands.folder import CommandFolder

log = structlog.get_logger()

LOOK_EVERY: Final = 5.0  # seconds
KEPT_FOR: Final = 7 * 86_400.0  # seconds that output and outcome are kept after the end
OVER: Final = "its execution is over"
STOPPED: Final = "the worker was stopped"


class LongCommands:
    """The commands in the folder of this worker's queue. `running` is for its status."""

    def __init__(self, root: Path, temporal: Client, announce_folder: Callable[[str], None]) -> None:
        """`announce_folder` is called with the id of the folder at each look at which there are commands."""
        self._root, self._temporal, self._announce_folder = root, temporal, announce_folder
        self._seen_lost: set[str] = set()
        self._awaited: list[CommandFolder] = []  # commands that have ended while somebody waited for them
        self.running: list[dict[str, Any]] = []

    async def watch(self) -> None:
        """Look again and again, until cancelled. No fault ends it."""
        while True:
            try:
                await self.look()
            except Exception as error:
                log.warning("long_commands.fault", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """End what has to end, tell who waits for what has ended, remove what is old, and note what runs."""
        running = await asyncio.to_thread(self._sorted)
        if next(folders.every(self._root), None) is not None:
            self._announce_folder(await asyncio.to_thread(folders.place_id, self._root))
        awaited, self._awaited = self._awaited, []
        for command in awaited:
            await self._tell_waiters(command)
        for command, facts in running:
            if await self._is_over(str(facts.get("workflow_id") or "")):
                log.info("long_command.ended", command=command.key, execution_id=facts.get("execution_id"), why=OVER)
                await asyncio.to_thread(_stop, command, OVER)
        self.running = [_shown(command, facts) for command, facts in running]

    async def _tell_waiters(self, command: CommandFolder) -> None:
        """Tell each workflow that waits for a command that it has ended, and forget those that were told."""
        for name in await asyncio.to_thread(command.waiters):
            workflow_id = str(command.read(name).get("workflow_id") or "")
            try:
                await self._temporal.get_workflow_handle(workflow_id).signal(names.COMMAND_ENDED, command.key)
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    log.warning("long_command.untold", command=command.key, error=error.message)
                    continue  # the next look tells it
            await asyncio.to_thread(command.forget_waiter, name)

    async def end_own(self) -> None:
        """End the commands of this worker, and of workers that are gone, unless a supervisor takes care of them."""
        from kubiya_worker._supervisor.posix import kept
        from kubiya_worker.tools.long_commands import stopping

        if os.environ.get(kept.VARIABLE):
            return
        running = await asyncio.to_thread(self._sorted)
        own = [command for command, facts in running if not _of_another_worker(facts)]
        for command in own:
            await asyncio.to_thread(_stop, command, STOPPED)
        deadline = time.monotonic() + stopping.WITHIN
        while any(command.is_held() for command in own) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # other processes end them, which no event here can tell
        if own:
            log.info("long_commands.ended", count=len(own), why=STOPPED)

    async def _is_over(self, workflow_id: str) -> bool:
        try:
            execution = await self._temporal.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            return error.status == RPCStatusCode.NOT_FOUND
        return execution.status is not WorkflowExecutionStatus.RUNNING

    def _sorted(self) -> list[tuple[CommandFolder, dict[str, Any]]]:
        """Return what runs; clear away what a killed keeper has left, and what is old."""
        running = []
        for command in folders.every(self._root):
            state = command.state()
            if state == folders.RUNNING:
                running.append((command, command.read("facts")))
                continue
            from kubiya_worker.tools.long_commands import stopping

            if state == folders.LOST and command.key not in self._seen_lost:
                self._seen_lost.add(command.key)
                left = stopping.end_leftovers(command)
                log.warning("long_command.lost", command=command.key, why=stopping.why_lost(command), killed=left)
            if command.waiters():
                self._awaited.append(command)
            elif _age(command) > KEPT_FOR:
                stopping.remove(command)
        return running


def _stop(command: CommandFolder, why: str) -> None:
    from kubiya_worker.tools.long_commands import stopping

    stopping.stop(command, why)


def _shown(command: CommandFolder, facts: dict[str, Any]) -> dict[str, Any]:
    began = datetime.fromtimestamp(float(facts.get("at") or 0), UTC).isoformat(timespec="seconds")
    programs = " | ".join(map(str, facts.get("programs") or ()))
    return {"id": command.key, "execution_id": facts.get("execution_id"), "since": began, "programs": programs}


def _of_another_worker(facts: dict[str, Any]) -> bool:
    """Return whether another worker that still runs has started the command."""
    starter = facts.get("starter") or {}
    pid = int(starter.get("pid") or 0)
    if pid in (0, os.getpid()):
        return False
    from kubiya_worker._supervisor.posix import processes

    process = processes.table().one(pid)
    return process is not None and process.start == starter.get("start")


def _age(command: CommandFolder) -> float:
    """Return the seconds since something was last written for it."""
    try:
        return time.time() - max(each.stat().st_mtime for each in command.path.iterdir())
    except (OSError, ValueError):
        return 0.0
