"""A loop that ends right after it has killed a child leaves no transport that complains later."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import warnings

from tests.support import child_transports


async def kill_a_child() -> None:
    """Kill a child whose own child holds its output open, and do not wait for either."""
    script = "import subprocess, sys; subprocess.Popen(['sleep', '2']); print('up', flush=True); sys.stdin.read()"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"up\n"
    child.kill()


def test_nothing_complains_when_it_is_collected() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        asyncio.run(kill_a_child())
        gc.collect()
    assert [str(each.message) for each in told if each.category is ResourceWarning] == []


async def read_from_a_child() -> subprocess.Popen[bytes]:
    """Read the output of a child that goes on after the loop."""
    child = subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE, bufsize=0)
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), child.stdout)
    return child


def test_no_pipe_complains_when_it_is_collected() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        child = asyncio.run(read_from_a_child())
        child.kill()
        child.wait()
        child.stdout = None  # nothing but asyncio's transport holds it
        gc.collect()
    messages = [str(each.message) for each in told if each.category is ResourceWarning]
    assert [message for message in messages if "unclosed transport" not in message] == []


def test_a_loop_without_children_is_closed_at_once() -> None:
    loop = asyncio.new_event_loop()
    assert child_transports.open_children(loop) == []
    loop.close()
    assert loop.is_closed()
