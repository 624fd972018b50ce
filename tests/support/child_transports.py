"""Let an event loop of a test see the end of its child processes before it closes.

asyncio closes the transport of a child when the child's end was told to the loop: by a thread that waits, before Python
3.12. A loop that was closed earlier is never told. Its transport then complains when it is collected, which fails
whichever test runs at that time, and it cannot close its pipes without the loop. Who stops an MCP server by the SDK
does not wait that long.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from asyncio.base_subprocess import BaseSubprocessTransport
from typing import Any, Final

PATIENCE: Final = 10.0  # seconds; a child that runs on is the fault of its test, which then fails
_made: weakref.WeakSet[Any] = weakref.WeakSet()


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


def install() -> None:
    """Make every loop of this process do so. A conftest.py calls this once."""
    made, close = BaseSubprocessTransport.__init__, asyncio.SelectorEventLoop.close

    def remembered(self: Any, *args: Any, **options: Any) -> None:
        _made.add(self)
        made(self, *args, **options)

    def closed(self: asyncio.SelectorEventLoop) -> None:
        if not self.is_closed() and not self.is_running() and open_children(self):
            self.run_until_complete(see_the_end(self))
        close(self)

    BaseSubprocessTransport.__init__ = remembered  # type: ignore[method-assign]
    asyncio.SelectorEventLoop.close = closed  # type: ignore[assignment, method-assign]
