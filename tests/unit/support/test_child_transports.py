"""A loop that ends right after it has killed a child leaves no transport that complains later."""

from __future__ import annotations

import asyncio
import gc
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


def test_a_loop_without_children_is_closed_at_once() -> None:
    loop = asyncio.new_event_loop()
    assert child_transports.open_children(loop) == []
    loop.close()
    assert loop.is_closed()
