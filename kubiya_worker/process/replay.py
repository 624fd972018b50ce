"""Whether the executions of a queue that are open now go on with the workflow code of this installation.

Each history is run through it once more, with nothing told to Temporal. One that does not replay would hang after an
upgrade: every workflow task of it would fail until a worker that suits it takes it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from temporalio.client import Client, WorkflowHistory
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from kubiya_worker.process import temporal
from kubiya_worker.workflows import registry

REASON: Final = 300  # characters
STARVED: Final = "TMPRL1101"  # the SDK's mark of 2 s without a result: a loop, or a host that had no CPU time
ATTEMPTS: Final = 3  # one of which does it where the host is only busy


class _Faults(logging.Handler):
    """What fails a workflow task without being nondeterminism (a type that is not here, a payload that cannot be read)
    is in the SDK's log alone."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.first is None and record.exc_info and record.exc_info[1] is not None:
            self.first = _short(record.exc_info[1])


@contextmanager
def _faults() -> Iterator[_Faults]:
    logger, faults = logging.getLogger("temporalio.worker"), _Faults()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(faults)
    try:
        yield faults
    finally:
        logger.removeHandler(faults)
        logger.propagate = propagate


def _short(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:REASON]


@dataclass(frozen=True)
class Replayed:
    """One open execution; `fault` says why it does not replay, None when it does."""

    workflow_id: str
    workflow_type: str
    events: int
    fault: str | None


async def replay(client: Client, task_queue: str, custom: list[type], more: str = "") -> AsyncIterator[Replayed]:
    """Each open execution of the queue, oldest first; one that ends meanwhile is left out.

    Workflow types that this worker does not have are faults: nothing here would take them. `more` narrows Temporal's
    query, as "AND …".
    """
    replayer = Replayer(
        workflows=[*registry.WORKFLOWS, *custom],
        namespace=client.namespace,
        data_converter=client.data_converter,
        workflow_runner=SandboxedWorkflowRunner(),
        runtime=temporal.runtime(),  # its log lines are Python's then, and not on stdout
    )
    name = task_queue.replace("'", "''")
    query = f"TaskQueue = '{name}' AND ExecutionStatus = 'Running' {more}"
    open_ones = [x async for x in client.list_workflows(query)]
    for found in sorted(open_ones, key=lambda x: x.start_time):
        try:
            history = await client.get_workflow_handle(found.id, run_id=found.run_id).fetch_history()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                continue
            raise
        yield Replayed(found.id, found.workflow_type, len(history.events), await fault_of(replayer, history))


async def fault_of(replayer: Replayer, history: WorkflowHistory) -> str | None:
    """Why the history does not replay; None when it does."""
    fault: str | None = None
    for _ in range(ATTEMPTS):
        with _faults() as faults:
            result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
        fault = _short(result.replay_failure) if result.replay_failure is not None else faults.first
        if fault is None or STARVED not in fault:
            break
    return fault
