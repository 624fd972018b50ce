"""This module checks whether a queue's open executions can continue with the workflow code of this installation.

Each history is run through the code once more; Temporal is told nothing. An execution that does not replay would hang
after an upgrade: its workflow tasks would fail until a worker with fitting code takes it.
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
# The SDK's code for 2 s without a result: an endless loop, or a host without free CPU time.
STARVED: Final = "TMPRL1101"
ATTEMPTS: Final = 3  # tries for a history that fails this way, as a busy host passes one of them


class _Faults(logging.Handler):
    """Collect errors that fail a workflow task but are no nondeterminism, since only the SDK's log has them.

    Examples are an unknown type, or a payload that cannot be read.
    """

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
    """The result for one open execution; `fault` says why it does not replay, and is None when it does."""

    workflow_id: str
    workflow_type: str
    events: int
    fault: str | None


async def replay(client: Client, task_queue: str, custom: list[type], condition: str = "") -> AsyncIterator[Replayed]:
    """Replay the queue's open executions, oldest first, and yield each result; skip those that end meanwhile.

    Workflow types that this worker does not have are faults, as no worker here would take them.
    `condition` narrows Temporal's query, as "AND …".
    """
    replayer = Replayer(
        workflows=[*registry.WORKFLOWS, *custom],
        namespace=client.namespace,
        data_converter=client.data_converter,
        workflow_runner=SandboxedWorkflowRunner(),
        runtime=temporal.runtime(),  # our runtime sends the SDK's log lines to Python's logging, not to stdout
    )
    name = task_queue.replace("'", "''")
    query = f"TaskQueue = '{name}' AND ExecutionStatus = 'Running' {condition}"
    open_ones = [x async for x in client.list_workflows(query)]
    for execution in sorted(open_ones, key=lambda x: x.start_time):
        try:
            history = await client.get_workflow_handle(execution.id, run_id=execution.run_id).fetch_history()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                continue
            raise
        yield Replayed(execution.id, execution.workflow_type, len(history.events), await fault_of(replayer, history))


async def fault_of(replayer: Replayer, history: WorkflowHistory) -> str | None:
    """Return why the history does not replay, or None when it does."""
    fault: str | None = None
    for _ in range(ATTEMPTS):
        with _faults() as faults:
            result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
        fault = _short(result.replay_failure) if result.replay_failure is not None else faults.first
        if fault is None or STARVED not in fault:
            break
    return fault
