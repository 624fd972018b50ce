"""A worker that kills itself, by SIGKILL, at a named point of a run: the real worker program with one hook.

    KILL_AT=call_model:2:during python -P -m tests.support.self_killing_worker --queue-id Q

`KILL_AT` is `<activity type>:<nth call of its type>:<before|during|after|left>`:

    before  the activity was handed to this worker, nothing has been done
    during  the model has sent its first text, or the tool has been started
    after   the activity has its result, and Temporal has not heard of it yet
    left    the next activity was handed to this worker, so Temporal has the result of the nth call; the control plane
            has none of the events that this call left behind

Workers that share `KILL_COUNT_FILE` count together, and the one that has the nth call kills itself. The file
`<KILL_COUNT_FILE>.<type>` has one byte for each call. Before it kills itself, the worker writes into
`KILL_UNDER_WAY_FILE` which calls it was running, as JSON: [[activity id, execution id], ...]. The killed call comes
first. Calls that ended in the last seconds are listed too, because Temporal may not have heard of their end yet.
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
_left: set[str] = set()  # the execution with a step whose events are held back


def die(struck: Entry) -> None:
    others = [entry for entry in _under_way if entry != struck]
    Path(os.environ["KILL_UNDER_WAY_FILE"]).write_text(json.dumps([struck, *others]))
    os.kill(os.getpid(), signal.SIGKILL)


def count(kind: str) -> int:
    """Count this call and return its number: the length of the file that the workers share."""
    with Path(f"{os.environ['KILL_COUNT_FILE']}.{kind}").open("ab", buffering=0) as shared:
        shared.write(b".")  # O_APPEND: afterwards the position is behind this very byte
        return shared.tell()


class _Inbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        entry = (info.activity_id, str(info.workflow_id).partition("-execution-")[2])
        _under_way.append(entry)
        if entry[1] in _left:
            die(entry)
        try:
            return await self._execute(input, entry)
        finally:
            asyncio.get_running_loop().call_later(UNHEARD, _under_way.remove, entry)

    async def _execute(self, input: ExecuteActivityInput, entry: Entry) -> Any:
        kind, number, point = os.environ["KILL_AT"].split(":")
        called = activity.info().activity_type
        if count(called) != int(number) or called != kind:
            return await super().execute_activity(input)
        if point == "before":
            die(entry)
        if point == "left":
            return await self._leave(input, entry)
        watcher = asyncio.create_task(_die_when_started(entry)) if point == "during" else None
        try:
            return await super().execute_activity(input)
        finally:  # with an error too: there is no other nth call
            if watcher:
                watcher.cancel()
            die(entry)

    async def _leave(self, input: ExecuteActivityInput, entry: Entry) -> Any:
        """Hold back what the step leaves, and die when the execution's next activity is handed to this worker."""
        _hold_back()
        result = await super().execute_activity(input)
        _left.add(entry[1])
        return result


async def _die_when_started(entry: Entry) -> None:
    """Kill this worker once the publisher has handed over its first event: then clients can see the call."""
    from kubiya_worker.control_plane.writer import Writer

    published = asyncio.Event()
    original = Writer.publish

    async def publish(self: Writer, *args: Any, **kwargs: Any) -> None:
        await original(self, *args, **kwargs)
        published.set()

    Writer.publish = publish  # type: ignore[method-assign]
    await published.wait()
    die(entry)


def _hold_back() -> None:
    """Never send the events of steps that end before these have arrived."""
    from kubiya_worker.activities.events import Publisher

    original = Publisher._leave

    async def leave(self: Publisher) -> bool:
        left = await original(self)
        if left and self._task is not None:
            self._task.cancel()  # it has not run since the step's end, so it has sent nothing of what is left
        return left

    async def held(self: Publisher) -> bool:
        await asyncio.Event().wait()
        return False

    Publisher._leave = leave  # type: ignore[method-assign]
    Publisher._send_alone = held  # type: ignore[method-assign]


class _KillInterceptor(Interceptor):
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Inbound(super().intercept_activity(next))


def install() -> None:
    original = temporalio.worker.Worker.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        kwargs["interceptors"] = [*kwargs.get("interceptors", ()), _KillInterceptor()]
        original(self, *args, **kwargs)

    temporalio.worker.Worker.__init__ = init  # type: ignore[method-assign]


if __name__ == "__main__":
    from kubiya_worker.process.main import main

    install()
    main()
