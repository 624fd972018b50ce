"""A worker that kills itself, by SIGKILL, at a named point of a run: the real worker program with one hook.

    MORTAL=call_model:2:during python -P -m tests.support.mortal --queue-id Q

`MORTAL` is `<activity type>:<nth call in this process>:<before|during|after>`:

    before  the activity was handed to this worker, nothing has been done
    during  a model has sent its first text, or a tool has been started
    after   the activity has its result; Temporal has not heard of it

Several workers that share the file `MORTAL_COUNT` count together, and the one that has the nth call dies. `MORTAL_LAST`
is a file for what was under way then: [[activity id, execution id], ...] as JSON, those that ended in the last second
among them, for Temporal may not have heard of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import temporalio.worker
from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

UNHEARD = 1.0  # seconds

_under_way: list[tuple[str, str]] = []


def die() -> None:
    if "MORTAL_LAST" in os.environ:
        Path(os.environ["MORTAL_LAST"]).write_text(json.dumps(_under_way))
    os.kill(os.getpid(), signal.SIGKILL)


def count(seen: int) -> int:
    """Which call of its kind this is: in this process, or of all that share a file, whose length is the count."""
    if "MORTAL_COUNT" not in os.environ:
        return seen
    with Path(os.environ["MORTAL_COUNT"]).open("ab", buffering=0) as shared:
        shared.write(b".")  # O_APPEND: afterwards the position is behind this very byte
        return shared.tell()


class _Inbound(ActivityInboundInterceptor):
    seen = 0

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        entry = (info.activity_id, str(info.workflow_id).partition("-execution-")[2])
        _under_way.append(entry)
        try:
            return await self._execute(input)
        finally:
            asyncio.get_running_loop().call_later(UNHEARD, _under_way.remove, entry)

    async def _execute(self, input: ExecuteActivityInput) -> Any:
        kind, number, point = os.environ["MORTAL"].split(":")
        if activity.info().activity_type != kind:
            return await super().execute_activity(input)
        _Inbound.seen += 1
        mine = count(_Inbound.seen) == int(number)
        if mine and point == "before":
            die()
        watcher = asyncio.create_task(_die_when_started()) if mine and point == "during" else None
        try:
            return await super().execute_activity(input)
        finally:  # with an error too: there is no other nth call
            if watcher:
                watcher.cancel()
            if mine and point in ("after", "during"):
                die()


async def _die_when_started() -> None:
    """The publisher has handed over its first event: the call is under way for whoever watches."""
    from kubiya_worker.activities import events

    published = asyncio.Event()
    loop = asyncio.get_running_loop()
    original = events.ControlPlane.publish

    def publish(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        loop.call_soon_threadsafe(published.set)
        return result

    events.ControlPlane.publish = publish  # type: ignore[method-assign]
    await published.wait()
    die()


class _Mortal(Interceptor):
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Inbound(super().intercept_activity(next))


def install() -> None:
    original = temporalio.worker.Worker.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        kwargs["interceptors"] = [*kwargs.get("interceptors", ()), _Mortal()]
        original(self, *args, **kwargs)

    temporalio.worker.Worker.__init__ = init  # type: ignore[method-assign]


if __name__ == "__main__":
    from kubiya_worker.process.main import main

    install()
    main()
