"""This module runs one program for a tool: no shell, bounded output, and no process left behind, however it ends.

The program leads a session and process group of its own, reads /dev/null, and writes both its streams into one pipe, so
that errors stand where they happened. When it exits, when its time is up, or when the call is cancelled, everything
that it started is ended: SIGTERM, `GRACE` seconds, SIGKILL. "Everything" is the process group, the descendants (found
before the first signal, while their parents still live), and on Linux whatever carries the call's marker in its
environment: a process that has left the group and whose parent is gone. `cleanup` does the same if the worker itself
is killed.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import psutil

from kubiya_worker._supervisor.posix.markers import pids_with
from kubiya_worker.tools.confinement import spawn
from kubiya_worker.tools.confinement.process_profile import Profile
from kubiya_worker.tools.processes.cleanup import MARKER, CleanupProcess
from kubiya_worker.tools.processes.output import BoundedOutput, OutputPipe, OutputSink

T = TypeVar("T")

SUPERVISOR_RUN: Final = "SUPERVISOR_RUN"  # supervisor/spec.py
GRACE: Final = 2.0  # seconds from SIGTERM to SIGKILL
DRAIN: Final = 0.5  # seconds for output that is still in the pipe after the last process is gone
KILL_ROUNDS: Final = 40  # of SIGKILL, 25 ms apart, against a program that forks faster than it is found

_cleanup = CleanupProcess()
atexit.register(_cleanup.close)  # a worker leaves by os._exit, where the cleanup process sees its pipe end
_numbers = count(1)
_scanner = ThreadPoolExecutor(2, "tool-processes")  # not the loop's own: ending things must not wait behind other work


@dataclass(frozen=True)
class ProgramResult:
    """The end of a program: `code` is negative for a signal, `seconds` is wall time, `timed_out` says that we ended it.

    For a pipe, `codes` are those of all programs, and `code` is the last one's. `left` names the processes that the
    call had started, that still ran when its programs had exited, and that were ended with it.
    """

    code: int
    output: str
    left_out: int
    total_bytes: int
    seconds: float
    timed_out: bool
    codes: tuple[int, ...] = ()
    left: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """A program to start: its path, and the arguments that it sees, its own name first."""

    executable: str
    argv: tuple[str, ...]


@dataclass(frozen=True)
class Pipe:
    """Programs of which each reads the output of the one before it, and what all of them are started with.

    The first reads `input_text`, or nothing. `profile` says what they may reach; None leaves them unconfined.
    """

    programs: Sequence[Program]
    cwd: Path
    env: Mapping[str, str] = field(repr=False)
    profile: Profile | None
    input_text: str | None = field(default=None, repr=False)


def close() -> None:
    """End the cleanup process and the programs that it still watches; the next program starts a new one."""
    _cleanup.close()


def token() -> str:
    """Return what the mark of each program that this process starts begins with."""
    return _cleanup.token


def own_children() -> set[int]:
    """Return the processes that this module waits for itself."""
    return _cleanup.pids()


@contextlib.contextmanager
def private_folder(prefix: str) -> Iterator[Path]:
    """Yield a folder that only this user can read, in memory where the host has that.

    It is gone after the block, and also when the worker is killed meanwhile.
    """
    memory = os.environ.get("XDG_RUNTIME_DIR", "")
    usable = Path(memory).is_absolute() and os.access(memory, os.W_OK | os.X_OK) and Path(memory).is_dir()
    _cleanup.ensure()
    with tempfile.TemporaryDirectory(prefix=prefix, dir=memory if usable else None) as folder:
        _cleanup.watch_folder(folder)
        try:
            yield Path(folder)
        finally:
            _cleanup.forget_folder(folder)


def marks(name: str) -> dict[str, str]:
    """Return variables for a tool's programs, by which they are found and ended when the worker is killed.

    A supervised worker adds the supervisor's mark of this run: without a subreaper (macOS) the supervisor finds by it
    the processes that are left when both worker and cleanup process were killed.
    """
    _cleanup.ensure()
    run = os.environ.get(SUPERVISOR_RUN)
    own = {MARKER: f"{_cleanup.token}.{next(_numbers)}.{name}"}
    return {**own, SUPERVISOR_RUN: run} if run else own


async def run_pipe(
    pipe: Pipe, *, timeout: float, output_limit: int, call_id: str, sink: OutputSink | None = None
) -> ProgramResult:
    """Run the programs of a pipe to their ends.

    `sink` takes the output in place of memory. Raises OSError if one cannot be started; whatever stops the call (a
    cancellation too) first ends all of it.
    """
    started, profile = time.monotonic(), pipe.profile
    mark = marks(call_id)
    output = sink or BoundedOutput(output_limit)
    reader, writer = os.pipe()
    output_pipe = OutputPipe(reader, output)
    processes: list[subprocess.Popen[bytes]] = []
    marker = f"{MARKER}={mark[MARKER]}".encode()
    timed_out = False
    left: tuple[str, ...] = ()
    try:
        try:
            source = _input(pipe.input_text)  # before the thread is restricted, which may not write to /tmp

            wrapped = [Program(*spawn.command(profile, program.executable, program.argv)) for program in pipe.programs]

            def start() -> None:
                _start(wrapped, processes, pipe.cwd, {**pipe.env, **mark}, source, writer)

            start() if profile is None else spawn.confined(profile, start)
        finally:
            os.close(writer)
        deadline = started + timeout
        for process in processes:
            if not await exited(process, max(deadline - time.monotonic(), 0.0)):
                timed_out = True
                break
    finally:
        try:
            left = await _to_its_end(_end(processes, marker, output_pipe))
        finally:
            output_pipe.close()
            for process in processes:
                _cleanup.forget(process.pid)
    return ProgramResult(
        code=processes[-1].returncode,
        output=output.text(),
        left_out=output.left_out,
        total_bytes=output.total_bytes,
        seconds=time.monotonic() - started,
        timed_out=timed_out,
        codes=tuple(process.returncode for process in processes),
        left=() if timed_out else left,
    )


def _start(
    programs: Sequence[Program],
    processes: list[subprocess.Popen[bytes]],
    cwd: Path,
    env: Mapping[str, str],
    source: int | IO[bytes],
    writer: int,
) -> None:
    """Start the programs of a pipe; if one fails, `processes` holds those that were started before."""
    try:
        for number, program in enumerate(programs):
            last = number == len(programs) - 1
            following, sink = (0, writer) if last else os.pipe()
            try:
                # Popen, not asyncio's subprocess: its wait() ends with the pipes in some versions, with the process in
                # others.
                process = subprocess.Popen(
                    program.argv,
                    executable=program.executable,
                    cwd=cwd,
                    env=env,
                    stdin=source,
                    stdout=sink,
                    stderr=writer,
                    start_new_session=True,
                )
                processes.append(process)
                _cleanup.watch(process.pid)
            finally:
                _close(source)
                source = subprocess.DEVNULL if last else following
                if not last:
                    os.close(sink)
    finally:
        _close(source)


def _input(input_text: str | None) -> int | IO[bytes]:
    """Return the input of the first program: a file, because a pipe could fill up and stop us."""
    if input_text is None:
        return subprocess.DEVNULL
    source = tempfile.TemporaryFile()  # noqa: SIM115  (`_start` closes it)
    source.write(input_text.encode(errors="replace"))
    source.seek(0)
    return source


def _close(source: int | IO[bytes]) -> None:
    """Close a program's input file on our side, as the program has its own copy."""
    if not isinstance(source, int):
        source.close()
    elif source >= 0:
        os.close(source)


async def exited(process: subprocess.Popen[bytes], timeout: float) -> bool:
    """Wait for the process itself, not for its children; return False when the time is up."""
    if sys.platform == "linux":
        left = asyncio.Event()
        loop = asyncio.get_running_loop()
        handle = os.pidfd_open(process.pid)  # not yet reaped, so it is certainly ours
        loop.add_reader(handle, left.set)
        try:
            await asyncio.wait_for(left.wait(), timeout)
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(handle)
            os.close(handle)
        return True
    else:
        deadline = time.monotonic() + timeout
        pause = 0.001
        while not _is_over(process):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(min(pause, max(deadline - time.monotonic(), 0)))
            pause = min(pause * 2, 0.05)
        return True


def _is_over(process: subprocess.Popen[bytes]) -> bool:
    """Return whether it has exited; on Linux it stays a zombie, so that its number and its group's are not reused."""
    if sys.platform == "linux":
        if process.returncode is not None:
            return True
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    else:
        return process.poll() is not None


async def _end(processes: Sequence[subprocess.Popen[bytes]], marker: bytes, pipe: OutputPipe) -> tuple[str, ...]:
    """End whatever is left of the call, reap the programs, and take up the rest of their output.

    Returns names of the processes that were still there beside the programs.
    """
    loop = asyncio.get_running_loop()
    leaders = [process.pid for process in processes]
    left = await loop.run_in_executor(_scanner, _members, leaders, marker)
    names = tuple(_name(process) for process in left if process.pid not in leaders)
    if left:
        _send(processes, left, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        pause = 0.005
        while _alive(processes, left) and time.monotonic() < deadline:
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.05)
        for _ in range(KILL_ROUNDS):
            left = await loop.run_in_executor(_scanner, _members, leaders, marker)
            if not left:
                break
            _send(processes, left, signal.SIGKILL)
            await asyncio.sleep(0.025)
    if processes:
        try:
            await asyncio.wait_for(pipe.at_end.wait(), DRAIN)
        except TimeoutError:
            pass  # somebody else holds the pipe: a process of another user, which we may neither see nor end
    for process in processes:
        process.poll()
        while process.returncode is None:  # SIGKILL was sent; one in an uninterruptible read ends when it can
            await asyncio.sleep(0.01)
            process.poll()
    return names


def _name(process: psutil.Process) -> str:
    """Return a process as a person would look for it: its command's beginning and its number."""
    try:
        words = " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        words = "a process"
    return f"{words[:80]} ({process.pid})"


def _members(leaders: Sequence[int], marker: bytes) -> list[psutil.Process]:
    """Return the living processes of the call, without zombies.

    A zombie holds nothing, and goes when its parent reaps it.
    """
    processes: dict[int, psutil.Process] = {}
    for leader in leaders:
        try:
            top = psutil.Process(leader)
            for process in [top, *top.children(recursive=True)]:
                processes[process.pid] = process
        except psutil.Error:
            continue  # it has been reaped
    if sys.platform == "linux":
        pids = pids_with(marker)
    else:
        pids = [pid for pid in psutil.pids() if _group_of(pid) in leaders]
    for pid in pids:
        try:
            processes.setdefault(pid, psutil.Process(pid))
        except psutil.Error:
            continue
    return [process for process in processes.values() if _runs(process)]


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _alive(processes: Sequence[subprocess.Popen[bytes]], members: Sequence[psutil.Process]) -> bool:
    return not all(map(_is_over, processes)) or any(_runs(member) for member in members)


def _send(
    processes: Sequence[subprocess.Popen[bytes]], members: Sequence[psutil.Process], number: signal.Signals
) -> None:
    """Signal each group while its leader is not reaped (so the number is ours), and each process by its identity."""
    for process in processes:
        if process.returncode is None:
            try:
                os.killpg(process.pid, number)
            except OSError:
                continue  # no member is left, or only zombies (macOS says EPERM)
    for member in members:
        try:
            member.send_signal(number)  # compares the start time, so a reused number is not hit
        except psutil.Error:
            pass


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` even if we are cancelled meanwhile, again and again; then pass the cancellation on."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
        except Exception:  # noqa: S112  (task.result() raises it below)
            continue
    result = task.result()
    if cancelled:
        raise asyncio.CancelledError
    return result
