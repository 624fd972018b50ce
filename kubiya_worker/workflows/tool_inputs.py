"""This module makes the input of a tool call's activity. No I/O."""

from __future__ import annotations

from kubiya_worker.protocol import calls
from kubiya_worker.protocol import messages as m
from kubiya_worker.workflows.call_places import CallPlaces
from kubiya_worker.workflows.core import ExecutionCore
from kubiya_worker.workflows.repeated_failures import RepeatedFailures


class ToolInputs:
    """The inputs of an execution's tool calls: what the model asks for, and what the worker has to know besides."""

    def __init__(self, core: ExecutionCore, repeated_failures: RepeatedFailures, places: CallPlaces) -> None:
        self._run = core.run
        self._turn = core.turn
        self._outbox = core.outbox
        self._repeated_failures = repeated_failures
        self._places = places

    def of(self, call: m.ToolCall, asked_by: m.Message) -> calls.ToolInput:
        """Return the input of a call that a message asks for."""
        arguments: str | None = call["arguments"]
        if len(arguments or "") > calls.INLINE_BYTES:
            arguments = None  # the worker reads them from the conversation
        failed, note = self._repeated_failures.before(call)
        return calls.ToolInput(
            execution_id=self._run.execution_id,
            tool_execution_id=call["id"],
            tool_name=call["name"],
            message_id=str(asked_by["message_id"]),
            step=self._turn.step,
            arguments=arguments,
            hold=bool(self._outbox),
            behind=self._outbox.predecessors(),
            tainted=self._run.tainted,
            tools_version=self._run.context.tools_version,
            cut=call.get("cut", ""),
            failed=failed,
            failure_note=note,
            turn=self._turn.number,
            may_wait=True,
            leave=True,
            may_move=True,
            places=dict(self._places.known),
            **self._outbox.room(),
        )
