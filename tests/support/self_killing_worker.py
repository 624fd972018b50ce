"""A worker that kills itself, by SIGKILL, at a named point of a run: the real worker program with one hook.

    KILL_AT=call_model:2:during python -P -m tests.support.self_killing_worker --queue-id Q

`KILL_AT` is `<activity type>:<nth call of its type>:<before|during|after|left>`:

    before  the activity was handed to this worker, nothing has been done
    during  the model has sent its first text, or the tool has been started
    after   the activity has its result, and Temporal has not heard of it yet
    left    the execution's next activity was handed to a worker, so Temporal has the result of the nth call; the
            control plane has none of the events that this call left behind

Workers that share `KILL_COUNT_FILE` count together, and the one that has the nth call kills itself. The file
`<KILL_COUNT_FILE>.<type>` has one byte for each call. Before it kills itself, the worker writes into
`KILL_UNDER_WAY_FILE` which calls it was running, as JSON: [[activity id, execution id], ...]. The killed call comes
first. Calls that ended in the last seconds are listed too, because Temporal may not have heard of their end yet.

At `left` the next activity may be handed to another worker. That one lets it go on, and tells this one by SIGUSR1 to
kill itself; `ELSEWHERE` stands for the killed call then. `<KILL_COUNT_FILE>.left` has the process id and the execution.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import temporalio.worker
from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

UNHEARD = 5.0  # seconds; a busy machine sends it late
ELSEWHERE = "elsewhere"  # in place of an activity id

Entry = tuple[str, str]  # activity id, execution id

_under_way: list[Entry] = []
_left: set[str] = set()  # the execution with a step whose events are held back, once the step is over


def die(struck: Entry) -> None:
    others = [entry for entry in _under_way if entry != struck]
    Path(os.environ["KILL_UNDER_WAY_FILE"]).write_text(json.dumps([struck, *others]))
    os.kill(os.getpid(), signal.SIGKILL)


def count(kind: str) -> int:
    """Count this call and return its number: the length of the file that the workers share."""
    with Path(f"{os.environ['KILL_COUNT_FILE']}.{kind}").open("ab", buffering=0) as shared:
        shared.write(b".")  # O_APPEND: afterwards the position is behind this very byte
        return shared.tell()


def left_file() -> Path:
    return Path(f"{os.environ['KILL_COUNT_FILE']}.left")


def tell_who_left(execution: str) -> None:
    """Have the other worker kill itself that has left events of the execution, if there is one."""
    try:
        pid, left = left_file().read_text().split()
    except FileNotFoundError:
        return
    if left == execution:
        left_file().rename(left_file().with_suffix(".told"))
        os.kill(int(pid), signal.SIGUSR1)


class _Inbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        entry = (info.activity_id, str(info.workflow_id).partition("-execution-")[2])
        _under_way.append(entry)
        if entry[1] in _left:
            die(entry)
        tell_who_left(entry[1])
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
        """Hold back what the step leaves, and die when the execution's next activity is handed to a worker."""
        _hold_back(entry[1])
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, die, (ELSEWHERE, entry[1]))
        result = await super().execute_activity(input)
        _left.add(entry[1])
        left_file().write_text(f"{os.getpid()} {entry[1]}")
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


def _hold_back(execution: str) -> None:
    """Let no event that a step of this execution leaves arrive, for as long as the worker itself would try to send it.

    What other executions leave is sent: they may have to end before this one has its next activity.
    """
    from kubiya_worker.activities.event_handover import EventHandover, EventOutcome
    from kubiya_worker.activities.event_queue import EventQueue
    from kubiya_worker.activities.event_sender import CLOSE_TIMEOUT, EventSender

    leave, send_alone = EventHandover.leave, EventHandover.send_alone

    async def held_leave(
        self: EventHandover, queue: EventQueue, sender: EventSender, message: Mapping[str, Any]
    ) -> EventOutcome | None:
        outcome = await leave(self, queue, sender, message)
        if outcome is not None and self.stream.execution_id == execution:
            sender.cancel()  # it has not run since the step's end, so it has sent nothing of what is left
        return outcome

    async def held(self: EventHandover, sender: EventSender) -> bool:
        if self.stream.execution_id != execution:
            return await send_alone(self, sender)
        await asyncio.sleep(CLOSE_TIMEOUT)
        return False

    EventHandover.leave = held_leave  # type: ignore[method-assign]
    EventHandover.send_alone = held  # type: ignore[method-assign]


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
