"""Let an event loop of a test see the end of its child processes, and close its pipes, before it closes.

asyncio closes the transport of a child when the child's end was told to the loop: by a thread that waits, before Python
3.12. A loop that was closed earlier is never told. Its transport then complains when it is collected, which fails
whichever test runs at that time, and it cannot close its pipes without the loop. Who stops an MCP server by the SDK
does not wait that long.

A pipe whose loop is closed stays open until it is collected. Whether asyncio's transport or the pipe itself complains
then is a matter of chance, and only what the transport says is ignored (setup.cfg).
"""

from __future__ import annotations

import asyncio
import time
import weakref
from asyncio import unix_events
from asyncio.base_subprocess import BaseSubprocessTransport
from typing import Any, Final

PATIENCE: Final = 10.0  # seconds; a child that runs on is the fault of its test, which then fails
_made: weakref.WeakSet[Any] = weakref.WeakSet()
_pipes: weakref.WeakSet[Any] = weakref.WeakSet()


def open_children(loop: asyncio.AbstractEventLoop) -> list[Any]:
    """Return the transports of this loop's child processes that have not lost their connection yet."""
    return [transport for transport in list(_made) if transport._loop is loop]


async def see_the_end(loop: asyncio.AbstractEventLoop) -> None:
    """Wait until the loop was told how each child ended, and close what the child's own children hold open."""
    deadline = time.monotonic() + PATIENCE
    while (waiting := open_children(loop)) and time.monotonic() < deadline:
        for transport in waiting:
            if transport.get_returncode() is not None:
                transport.close()
        del transport
        await asyncio.sleep(0.005)


def close_pipes(loop: asyncio.AbstractEventLoop) -> None:
    """Close the pipes of this loop that are still open."""
    for transport in list(_pipes):
        if transport._loop is loop and transport._pipe is not None:
            transport._pipe.close()


def install() -> None:
    """Make every loop of this process do so. A conftest.py calls this once."""
    close = asyncio.SelectorEventLoop.close

    def closed(self: asyncio.SelectorEventLoop) -> None:
        if not self.is_closed() and not self.is_running() and open_children(self):
            self.run_until_complete(see_the_end(self))
        close_pipes(self)
        close(self)

    _remember(BaseSubprocessTransport, _made)
    for name in ("_UnixReadPipeTransport", "_UnixWritePipeTransport"):
        _remember(getattr(unix_events, name), _pipes)
    asyncio.SelectorEventLoop.close = closed  # type: ignore[assignment, method-assign]


def _remember(kind: Any, made: weakref.WeakSet[Any]) -> None:
    """Put each new object of a class into a set."""
    make = kind.__init__

    def remembered(self: Any, *args: Any, **options: Any) -> None:
        made.add(self)
        make(self, *args, **options)

    kind.__init__ = remembered
