"""A worker that kills itself, by SIGKILL, at a named point of a run: the real worker program with one hook.

    MORTAL=call_model:2:during python -P -m tests.support.mortal --queue-id Q

`MORTAL` is `<activity type>:<nth call of its type>:<before|during|after>`:

    before  the activity was handed to this worker, nothing has been done
    during  a model has sent its first text, or a tool has been started
    after   the activity has its result; Temporal has not heard of it

Workers that share `MORTAL_COUNT` count together, and the one that has the nth call dies: `<MORTAL_COUNT>.<type>` has a
byte for each call. `MORTAL_LAST` is a file for what was under way then: [[activity id, execution id], ...] as JSON, the
call that was struck first, and those that ended in the last seconds among them, for Temporal may not have heard of it.
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

UNHEARD = 5.0  # seconds; a busy machine sends it late

Entry = tuple[str, str]  # activity id, execution id

_under_way: list[Entry] = []


def die(struck: Entry) -> None:
    others = [entry for entry in _under_way if entry != struck]
    Path(os.environ["MORTAL_LAST"]).write_text(json.dumps([struck, *others]))
    os.kill(os.getpid(), signal.SIGKILL)


def count(kind: str) -> int:
    """Count this call and return its number: the length of the file that the workers share."""
    with Path(f"{os.environ['MORTAL_COUNT']}.{kind}").open("ab", buffering=0) as shared:
        shared.write(b".")  # O_APPEND: afterwards the position is behind this very byte
        return shared.tell()


class _Inbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        entry = (info.activity_id, str(info.workflow_id).partition("-execution-")[2])
        _under_way.append(entry)
        try:
            return await self._execute(input, entry)
        finally:
            asyncio.get_running_loop().call_later(UNHEARD, _under_way.remove, entry)

    async def _execute(self, input: ExecuteActivityInput, entry: Entry) -> Any:
        kind, number, point = os.environ["MORTAL"].split(":")
        called = activity.info().activity_type
        if count(called) != int(number) or called != kind:
            return await super().execute_activity(input)
        if point == "before":
            die(entry)
        watcher = asyncio.create_task(_die_when_started(entry)) if point == "during" else None
        try:
            return await super().execute_activity(input)
        finally:  # with an error too: there is no other nth call
            if watcher:
                watcher.cancel()
            die(entry)


async def _die_when_started(entry: Entry) -> None:
    """The publisher has handed over its first event: the call is under way for whoever watches."""
    from kubiya_worker.control_plane.writer import Writer

    published = asyncio.Event()
    original = Writer.publish

    async def publish(self: Writer, *args: Any, **kwargs: Any) -> None:
        await original(self, *args, **kwargs)
        published.set()

    Writer.publish = publish  # type: ignore[method-assign]
    await published.wait()
    die(entry)


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
