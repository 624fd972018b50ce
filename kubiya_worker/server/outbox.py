"""This module sends actions to Temporal: each is stored in its request's transaction, and sent until Temporal has it.

So a reply never waits for Temporal, nothing is lost while it is away or when this process is killed, and the actions on
one execution arrive in their order. Each may arrive twice (a kill between sending and deleting): a start is refused
the second time, and signals carry ids by which the workflow recognises them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from kubiya_worker.event_log import EventLogger
from kubiya_worker.protocol import search
from kubiya_worker.protocol.sequel import Sequel
from kubiya_worker.server.run_workflows import RunWorkflows
from kubiya_worker.server.store import outbox as store
from kubiya_worker.server.store.outbox import Action, Outbox
from kubiya_worker.server.temporal import RefusedByTemporal, StillRuns, Temporal, TemporalDown, Workflow

log = EventLogger(__name__)

RETRY: Final = 1.0  # seconds between tries while Temporal is away
AT_ONCE: Final = 32  # executions that are sent to Temporal at the same time


class Sender:
    """Send stored actions with one task for each execution that has some."""

    def __init__(
        self,
        outbox: Outbox,
        temporal: Temporal,
        workflows: RunWorkflows,
        *,
        refused: Callable[[str, str], None],
    ) -> None:
        """Take `refused`, which is called with an execution's id and the reason of a final refusal."""
        self._outbox, self._temporal, self._workflows, self._refused = outbox, temporal, workflows, refused
        self.elsewhere: Callable[[str], None] | None = None  # set while another server sends
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def wake(self, execution_id: str) -> None:
        """Send what waits; or have the server told that sends for all."""
        if self.elsewhere is not None:
            self.elsewhere(execution_id)
        elif execution_id not in self._tasks:
            self._tasks[execution_id] = asyncio.create_task(self._drain(execution_id))

    def resume(self) -> None:
        """Send all actions that were not sent: after a restart, and those of other servers."""
        for execution_id in self._outbox.waiting():
            self.wake(execution_id)

    def stop(self) -> None:
        for task in list(self._tasks.values()):
            task.cancel()

    async def _drain(self, execution_id: str) -> None:
        try:
            while True:
                try:
                    if not await self._tell_next(execution_id):
                        return
                except StillRuns:  # a cancelled tool may take its time, and nobody else waits for this
                    await asyncio.sleep(RETRY)
                except TemporalDown as error:
                    self._temporal.outage.began(str(error))
                except Exception as error:  # a full disk, or a bug: without this the execution would stop for ever
                    log.fault("outbox.failed", error, execution_id=execution_id)
                    await asyncio.sleep(RETRY)
        finally:
            self._tasks.pop(execution_id, None)

    async def _tell_next(self, execution_id: str) -> bool:
        """Send the next action; return False when there is none."""
        action = self._outbox.next(execution_id)
        if action is None:
            return False
        async with self._slots:
            try:
                await self._tell(action)
                self._temporal.outage.ended()
            except TemporalDown:
                await asyncio.sleep(RETRY)  # sleep with the slot held, so that few tasks ask while Temporal is away
                raise
            except LookupError:
                log.info("workflow.gone", action=action.kind, execution_id=execution_id)
        self._outbox.remove(action.id)
        return True

    async def _tell(self, action: Action) -> None:
        workflow = self._workflows.find(action.execution_id)
        if workflow is None:
            return
        argument: dict[str, Any] = action.argument
        if action.kind == store.START:
            try:
                await self._start(workflow, argument)
            except RefusedByTemporal as error:
                self._refused(action.execution_id, str(error))
        elif action.kind == store.SIGNAL:
            await self._temporal.signal(workflow, argument["name"], *argument["args"])
        elif action.kind == store.CANCEL:
            await self._temporal.cancel(workflow)
        elif action.kind == store.TERMINATE:
            await self._temporal.terminate(workflow, argument["reason"])

    async def _start(self, workflow: Workflow, argument: dict[str, Any]) -> None:
        priority, number = argument.pop(store.PRIORITY, None), Sequel.parse(argument.get("sequel")).number
        if number:
            if await self._temporal.has_begun(workflow, number):
                return
            argument = self._workflows.go_on(workflow.execution_id, argument)
        searchable = await self._temporal.searchable()
        labels = self._workflows.labels(workflow.execution_id) if searchable else {}
        if search.STATUS in searchable:
            argument = {**argument, search.SHOWS_STATUS: True}
        labels = {name: value for name, value in labels.items() if name in searchable}
        await self._temporal.start(workflow, argument, priority=priority, sequel=number, labels=labels)
