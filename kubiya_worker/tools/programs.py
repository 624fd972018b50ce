"""Running one program for a tool: no shell, bounded output, and nothing of it left behind, however it ends.

The program leads a session and process group of its own, reads /dev/null, and writes both its streams into one pipe, so
that errors stand where they happened. When it exits, when its time is up, or when the call is cancelled, everything
that it started is ended: SIGTERM, `GRACE` seconds, SIGKILL. "Everything" is the process group, the descendants (found
before the first signal, while their parents still live), and on Linux whatever carries the call's marker in its
environment: a process that has left the group and whose parent is gone. `guard` does the same if the worker itself
is killed.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import psutil

from kubiya_worker.tools.guard import MARKER, Guard, marked
from kubiya_worker.tools.output import Output

SUPERVISOR_RUN: Final = "SUPERVISOR_RUN"  # supervisor/spec.py
GRACE: Final = 2.0  # seconds from SIGTERM to SIGKILL
DRAIN: Final = 0.5  # seconds for output that is still in the pipe after the last process is gone
CHUNK: Final = 1 << 16  # bytes; the size of a Linux pipe
KILL_ROUNDS: Final = 40  # of SIGKILL, 25 ms apart, against a program that forks faster than it is found

_guard = Guard()
atexit.register(_guard.close)  # a worker leaves by os._exit, where the guard sees its pipe end
_numbers = count(1)
_scanner = ThreadPoolExecutor(2, "tool-processes")  # not the loop's own: ending things must not wait behind other work


@dataclass(frozen=True)
class Ended:
    """How a program ended: `code` is negative for a signal, `seconds` is wall time, `timed_out` says who ended it."""

    code: int
    output: str
    left_out: int
    total_bytes: int
    seconds: float
    timed_out: bool


def close() -> None:
    """Ends the guard, and what it still watches. The next program starts another one."""
    _guard.close()


def marks(name: str) -> dict[str, str]:
    """What is in the environment of every program of a tool, so that the guard ends it when the worker is killed.

    And, where the worker is supervised, the supervisor's mark of this run: without a subreaper (macOS) the supervisor
    finds by it what is left when both worker and guard were killed.
    """
    _guard.ensure()
    run = os.environ.get(SUPERVISOR_RUN)
    own = {MARKER: f"{_guard.token}.{next(_numbers)}.{name}"}
    return {**own, SUPERVISOR_RUN: run} if run else own


async def run(
    argv: Sequence[str],
    *,
    executable: str,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float,
    output_limit: int,
    call_id: str,
) -> Ended:
    """Runs a program to its end. Raises OSError if it cannot be started; a cancellation first ends all of it."""
    started = time.monotonic()
    mark = marks(call_id)
    output = Output(output_limit)
    reader, writer = os.pipe()
    pipe = _Pipe(reader, output)
    try:
        # Popen, not asyncio's subprocess: its wait() ends with the pipes in some versions, with the process in others.
        process = subprocess.Popen(  # noqa: ASYNC220  (vfork and exec: about 1 ms)
            argv,
            executable=executable,
            cwd=cwd,
            env={**env, **mark},
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            start_new_session=True,
        )
    except BaseException:
        pipe.close()
        raise
    finally:
        os.close(writer)
    _guard.watch(process.pid)
    timed_out = False
    try:
        timed_out = not await _exited(process, timeout)
    finally:
        try:
            await _to_its_end(_end(process, f"{MARKER}={mark[MARKER]}".encode(), pipe))
        finally:
            pipe.close()
            _guard.forget(process.pid)
    text = output.text()
    return Ended(process.returncode, text, output.left_out, output.total_bytes, time.monotonic() - started, timed_out)


class _Pipe:
    """Reads the pipe as the loop finds time: a program that prints without end waits for us and fills no memory."""

    def __init__(self, reader: int, output: Output) -> None:
        self._reader = reader
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._open = True
        self.at_end = asyncio.Event()
        os.set_blocking(reader, False)
        self._loop.add_reader(reader, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._reader, CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        if data:
            self._output.feed(data)
        else:
            self._loop.remove_reader(self._reader)
            self.at_end.set()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._reader)
            os.close(self._reader)


async def _exited(process: subprocess.Popen[bytes], timeout: float) -> bool:
    """Waits for the process itself, not for its children; False when the time is up."""
    if sys.platform == "linux":
        exited = asyncio.Event()
        loop = asyncio.get_running_loop()
        handle = os.pidfd_open(process.pid)  # not yet reaped, so it is certainly ours
        loop.add_reader(handle, exited.set)
        try:
            await asyncio.wait_for(exited.wait(), timeout)
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
    """Whether it has exited. On Linux without reaping: a zombie's number, and its group's, are nobody else's."""
    if sys.platform == "linux":
        if process.returncode is not None:
            return True
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    else:
        return process.poll() is not None


async def _end(process: subprocess.Popen[bytes], marker: bytes, pipe: _Pipe) -> None:
    """Ends whatever is left of the call, reaps the program, and takes up the rest of its output."""
    loop = asyncio.get_running_loop()
    left = await loop.run_in_executor(_scanner, _members, process.pid, marker)
    if left:
        _send(process, left, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        pause = 0.005
        while _alive(process, left) and time.monotonic() < deadline:
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.05)
        for _ in range(KILL_ROUNDS):
            left = await loop.run_in_executor(_scanner, _members, process.pid, marker)
            if not left:
                break
            _send(process, left, signal.SIGKILL)
            await asyncio.sleep(0.025)
    try:
        await asyncio.wait_for(pipe.at_end.wait(), DRAIN)
    except TimeoutError:
        pass  # somebody else holds the pipe: a process of another user, which we may neither see nor end
    process.poll()
    while process.returncode is None:  # SIGKILL was sent; a process in an uninterruptible read ends when it can
        await asyncio.sleep(0.01)
        process.poll()


def _members(leader: int, marker: bytes) -> list[psutil.Process]:
    """Living processes of the call. Zombies do not count: they hold nothing and go when their parent reaps them."""
    found: dict[int, psutil.Process] = {}
    try:
        top = psutil.Process(leader)
        for process in [top, *top.children(recursive=True)]:
            found[process.pid] = process
    except psutil.Error:
        pass  # it has been reaped
    if sys.platform == "linux":
        pids = marked(marker)
    else:
        pids = [pid for pid in psutil.pids() if _group_of(pid) == leader]
    for pid in pids:
        try:
            found.setdefault(pid, psutil.Process(pid))
        except psutil.Error:
            continue
    return [process for process in found.values() if _runs(process)]


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


def _alive(process: subprocess.Popen[bytes], members: Sequence[psutil.Process]) -> bool:
    return not _is_over(process) or any(_runs(member) for member in members)


def _send(process: subprocess.Popen[bytes], members: Sequence[psutil.Process], number: signal.Signals) -> None:
    """Signals the group while its leader is not reaped (so the number is ours), and each process by its identity."""
    if process.returncode is None:
        try:
            os.killpg(process.pid, number)
        except OSError:
            pass  # no member is left, or only zombies (macOS says EPERM)
    for member in members:
        try:
            member.send_signal(number)  # compares the start time, so a reused number is not hit
        except psutil.Error:
            pass


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Awaits `work` even if we are cancelled meanwhile, again and again; then passes the cancellation on."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
        except Exception:  # noqa: S112  (task.result() raises it below)
            continue
    task.result()
    if cancelled:
        raise asyncio.CancelledError
