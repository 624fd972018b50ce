"""The tools `shell_start`, `shell_wait` and `shell_stop`, for commands that take hours and outlive the worker.

What may be started is what `shell` may run: the same lists, confinement, environment and rules. Each call is short and
may be made again: a start finds what an earlier attempt has started, and reading goes by positions in the output. The
workflow makes a long wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol import calls
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.base import LongCommandsPlace, Tool, ToolContext, ToolResult, refusal
from kubiya_worker.tools.long_commands import folder as folders
from kubiya_worker.tools.long_commands import output, starting, stopping
from kubiya_worker.tools.long_commands.folder import CommandFolder
from kubiya_worker.tools.shell import command_line
from kubiya_worker.tools.shell.endings import REFUSED, ending
from kubiya_worker.tools.shell.prepared import PreparingShell

LONGEST_HELD: Final = 60.0  # seconds of a wait for which a slot of the worker is held; a longer one holds none
AT_ONCE: Final = 1.0  # seconds that a start waits, so that a command that fails at once says so
SHOWN: Final = 8_000  # bytes of the output's end, when no position is asked for
READ: Final = 40_000  # bytes of one reading from a position
MOST_RUNNING: Final = 16  # of one execution
LOOK_EVERY: Final = 0.1  # seconds
_MARGIN: Final = 30.0
_WOKEN: Final = {
    calls.MESSAGE: "the wait was ended because a person has written",
    calls.BUDGET: "the wait was ended because the seconds of this execution's budget are used up",
}


def of(shell: PreparingShell, longest: float) -> list[Tool]:
    """Return the three tools beside a `shell`; `longest` is the time limit of a command in seconds."""
    return [ShellStart(shell, longest), ShellWait(longest), ShellStop()]


class ShellStart:
    """The tool `shell_start`, with the arguments `{command, input?, working_directory?, timeout?}`."""

    def __init__(self, shell: PreparingShell, longest: float) -> None:
        self._shell, self._longest = shell, longest
        properties: dict[str, Any] = {**shell.spec.parameters["properties"]}
        properties["timeout"] = {
            "type": "number",
            "minimum": 1,
            "maximum": longest,
            "description": f"Seconds until the program is ended; default {longest:g}",
        }
        self.spec = ToolSpec(
            name="shell_start",
            description="Start a program as `shell` would run it, and do not wait for its end: for what takes longer "
            "than minutes. It goes on when the worker is restarted. Returns an id for shell_wait and shell_stop. It is "
            "ended when this execution is over, so wait for it before your last answer.",
            parameters={**shell.spec.parameters, "properties": properties},
            idempotent=True,  # an attempt finds what the one before it has started
            risk=shell.spec.risk,
            category=shell.spec.category,
            timeout=starting.START_WITHIN * 2 + _MARGIN,
            taints=True,
            effects=shell.spec.effects,
            confirms=shell.spec.confirms,
            ruled_as=shell.spec.name,
        )

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        place = context.long_commands
        if place is None:
            return _nowhere()
        place.announce(await asyncio.to_thread(folders.place_id, place.root))
        known = CommandFolder.of_call(place.root, context.execution_id, context.tool_call_id)
        if not known.was_started():
            if place.attempt > 1 and place.before[1] != folders.place_id(place.root):
                if place.may_move and place.before[1]:  # that host knows whether it was started
                    return _moved(known.key, place.before[0], place.queue(place.before[1]), 0.0)
                return _unknown_start(place)
            running = sum(command.state() == folders.RUNNING for command in _own(place, context))
            if running >= MOST_RUNNING:
                return refusal(f"{running} commands of this execution run already; wait for one, or stop one")
        try:
            ready = self._shell.prepared(arguments, context)
            command = starting.LongCommand(
                execution_id=context.execution_id,
                tool_call_id=context.tool_call_id,
                workflow_id=place.workflow_id,
                host=place.host,
                pipe=ready.pipe,
                timeout=min(float(arguments.get("timeout") or self._longest), self._longest),
                remote=ready.remote,
                refused=ready.refused,
            )
            started = await asyncio.to_thread(starting.start, place.root, command)
        except command_line.CommandRefused as refused:
            return refusal(str(refused))
        except (OSError, ValueError, ConfigurationError) as error:
            return refusal(f"The command could not be started: {error}")
        await _until_end(started, AT_ONCE)
        report = await asyncio.to_thread(_report, started, place, None)
        return replace(report, left=(started.key, place.queue(await asyncio.to_thread(folders.place_id, place.root))))


class ShellWait:
    """The tool `shell_wait`, with the arguments `{id?, seconds?, since?}`."""

    def __init__(self, longest: float) -> None:
        self.spec = ToolSpec(
            name="shell_wait",
            description="Read the output of a command that shell_start has started, and its outcome once it has ended. "
            "Waits up to `seconds` for its end, and returns at once when it ends, or when a person writes. One wait of "
            "hours costs nothing, so ask for as long as the command may take instead of asking again and again. "
            "Without an id: this execution's only command, or a list of them.",
            parameters={
                "type": "object",
                "properties": {
                    "id": {"type": "string", "description": "What shell_start returned"},
                    "seconds": {
                        "type": "number",
                        "minimum": 0,
                        "maximum": max(longest, LONGEST_HELD),
                        "description": "Longest wait for the end; default 0: look only",
                    },
                    "since": {
                        "type": "integer",
                        "minimum": 0,
                        "description": "Position in the output from which to read; default: its last lines",
                    },
                },
                "additionalProperties": False,
            },
            idempotent=True,
            category="command_execution",
            timeout=LONGEST_HELD + _MARGIN,
            taints=True,
        )

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        place = context.long_commands
        if place is None:
            return _nowhere()
        left = place.left if place.left is not None else float(arguments.get("seconds") or 0)
        if arguments.get("id"):
            command = _command(str(arguments["id"]), place, context, left)
        else:
            command = await asyncio.to_thread(_only, place, context, left)
        if isinstance(command, ToolResult):
            return command
        began = time.monotonic()
        held = min(left, LONGEST_HELD) if left <= LONGEST_HELD or not place.may_wait else min(left, AT_ONCE)
        await _until_end(command, held, place.stopping)
        left -= time.monotonic() - began
        if place.may_wait and left > 0:
            with contextlib.suppress(OSError):  # on a full disk; then the workflow looks again by itself
                await asyncio.to_thread(command.note_waiter, place.workflow_id)
            if command.state() == folders.RUNNING:
                return ToolResult("", wait=(command.key, left))
        since = arguments.get("since")
        return await asyncio.to_thread(_report, command, place, None if since is None else int(since))


class ShellStop:
    """The tool `shell_stop`, with the argument `{id}`."""

    spec = ToolSpec(
        name="shell_stop",
        description="End a command that shell_start has started: SIGTERM, then SIGKILL, for all that it has started.",
        parameters={
            "type": "object",
            "properties": {"id": {"type": "string", "description": "What shell_start returned"}},
            "required": ["id"],
            "additionalProperties": False,
        },
        idempotent=True,
        category="command_execution",
        timeout=_MARGIN,
        taints=True,
    )

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        place = context.long_commands
        if place is None:
            return _nowhere()
        command = _command(str(arguments["id"]), place, context)
        if isinstance(command, ToolResult):
            return command
        await asyncio.to_thread(stopping.stop, command, "shell_stop was called")
        await _until_end(command, stopping.WITHIN)
        return await asyncio.to_thread(_report, command, place, None)


async def _until_end(command: CommandFolder, seconds: float, stopping: Callable[[], bool] = bool) -> None:
    """Wait until a command has ended, for so long at most, and not while the worker is being stopped."""
    deadline = time.monotonic() + seconds
    while command.state() == folders.RUNNING and not stopping():
        left = deadline - time.monotonic()
        if left <= 0:
            return
        await asyncio.sleep(min(LOOK_EVERY, left))  # another process ends it, which no event here can tell


def _command(
    command_id: str, place: LongCommandsPlace, context: ToolContext, left: float = 0.0
) -> CommandFolder | ToolResult:
    """Return the folder of a command of this execution; else send the call to its host, or say where it may be."""
    key, _, host = command_id.strip().partition("@")
    command = folders.of_key(place.root, key)
    if command is not None and command.read("facts").get("execution_id") == context.execution_id:
        return command
    if key in place.others:
        return _moved(key, *place.others[key], left)
    if host and host != place.host:
        return refusal(
            f"The command {key} belongs to the host {host}, and this step ran on {place.host}, which cannot reach it; "
            f"a worker on {host} has to take the step. Call again, and see that the queue has one host, or end it there"
        )
    return refusal(f"This execution has no command {command_id!r} on {place.host}; shell_wait without an id lists them")


def _own(place: LongCommandsPlace, context: ToolContext) -> list[CommandFolder]:
    every = folders.every(place.root)
    return [command for command in every if command.read("facts").get("execution_id") == context.execution_id]


def _moved(key: str, host: str, queue: str, left: float) -> ToolResult:
    """Return that the call goes on where the command is; `left` are the seconds that it may wait."""
    return ToolResult("", wait=(key, left), elsewhere=(host, queue))


def _only(place: LongCommandsPlace, context: ToolContext, left: float) -> CommandFolder | ToolResult:
    """Return the only command of this execution, or a list of its commands."""
    own = _own(place, context)
    others = {key: at for key, at in place.others.items() if key not in {command.key for command in own}}
    if len(own) == 1 and not others:
        return own[0]
    if len(others) == 1 and not own:
        ((key, at),) = others.items()
        return _moved(key, *at, left)
    lines = [f"{key}@{host}  on that host; shell_wait with this id asks it" for key, (host, _) in others.items()]
    for command in own:
        facts = command.read("facts")
        began = datetime.fromtimestamp(float(facts.get("at") or 0), UTC).isoformat(timespec="seconds")
        names = " | ".join(map(str, facts.get("programs") or ()))
        lines.append(f"{command.key}@{facts.get('host')}  {command.state()}  since {began}  {names}")
    none = f"This execution has no commands on {place.host}. What became of one on another host, or in a container that"
    return ToolResult("\n".join(lines) or f"{none} has ended, is unknown here.", taints=False)


def _report(command: CommandFolder, place: LongCommandsPlace, since: int | None) -> ToolResult:
    """Return a part of the output, then the state of the command on lines of its own in brackets."""
    state = command.state()  # before the output is read, so that nothing is missed of a command that has ended
    facts, outcome = command.read("facts"), command.read("outcome")
    ended = state in (folders.ENDED, folders.LOST)
    part = output.read(command.path, since, SHOWN if since is None else READ, ended=ended)
    notes, error = [], None
    if part.left_out:
        notes.append(f"{part.left_out} bytes before this are not kept")
    if state == folders.RUNNING:
        seconds = max(0.0, time.time() - float(facts.get("at") or 0))
        notes.append(f"still running, {seconds:.0f} s; id={command.key}@{facts.get('host')}")
        if place.woken in _WOKEN:
            notes.append(_WOKEN[place.woken])
    elif state == folders.ENDED:
        error = _failure(outcome, float(facts.get("timeout") or 0))
        notes.append(f"{error or 'exit code 0'}, after {float(outcome.get('seconds') or 0):.0f} s")
        for name, code in zip(facts.get("programs") or (), (outcome.get("codes") or ())[:-1], strict=False):
            if code and code != -signal.SIGPIPE and not outcome.get("timed_out"):  # the next program read enough
                notes.append(f"{name}: {ending(code)}")
        if error and facts.get("refused") and any(text in part.text for text in REFUSED):
            notes.append(str(facts["refused"]))
        if outcome.get("lost_bytes"):
            notes.append(f"{outcome['lost_bytes']} bytes of output could not be kept: {outcome.get('lost_why')}")
        if outcome.get("left") and not outcome.get("timed_out"):
            notes.append(f"still running and ended with it: {', '.join(map(str, outcome['left'][:5]))}")
    else:
        error = f"Outcome unknown: {stopping.why_lost(command)}"
        notes.append(error)
    if part.total or not ended:
        notes.append(f"output {part.begin} to {part.end} of {part.total} bytes; since={part.end} reads on")
    text = part.text if part.text.endswith("\n") or not part.text else f"{part.text}\n"
    metadata = {
        "command_id": f"{command.key}@{facts.get('host')}",
        "state": state,
        "exit_code": outcome.get("code"),
        "output_bytes": part.total,
        "next": part.end,
    }
    return ToolResult(
        text + "".join(f"[{note}]\n" for note in notes),
        error=error,
        metadata=metadata,
        taints=bool(part.text),
        remote=bool(facts.get("remote")),
    )


def _failure(outcome: Mapping[str, Any], timeout: float) -> str | None:
    """Return how a command failed; None for one that did not."""
    if outcome.get("fault"):
        return f"it could not be started: {outcome['fault']}"
    if outcome.get("stopped"):
        return f"stopped: {outcome['stopped']}"
    if outcome.get("timed_out"):
        return f"timed out after {timeout:g} seconds"
    codes = [code for code in outcome.get("codes") or () if code]
    return ending(int(outcome.get("code") or 0)) or (
        f"a program before the last: {ending(codes[0])}" if codes else None
    )


def _unknown_start(place: LongCommandsPlace) -> ToolResult:
    """Return the result of a later attempt that cannot know whether an earlier one has started the command."""
    where = f"on the host {place.before[0]}" if place.before[0] else "somewhere, had not said where"
    text = (
        f"Outcome unknown: the worker that began this call ran {where}, and was lost. Whether the command runs there "
        f"is not known on {place.host}, so it was not started again"
    )
    return ToolResult(f"{text}.", error=text, taints=False)


def _nowhere() -> ToolResult:
    return refusal("This worker has no folder for long commands")
