"""End turns of an execution, and store its session."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from kubiya_worker.activities import turn_end
from kubiya_worker.activities.control_plane_calls import as_fault, require_sent
from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.activities.session_storage import session_writes
from kubiya_worker.control_plane import records, writes
from kubiya_worker.control_plane.writes import Write
from kubiya_worker.protocol import calls, names
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol.streams import RunStream


class SessionActivities:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @activity.defn(name=names.END_TURN)
    async def end_turn(self, turn: calls.TurnInput) -> calls.TurnResult:
        """Store the session, post the turn, and close the execution if final. Return the next status."""
        runtime, delivery, execution_id = self._runtime, self._runtime.delivery, turn.execution_id
        confirming = runtime.in_flight.confirm(runtime.writer, RunStream(execution_id), turn.unconfirmed, turn.behind)
        turn = replace(turn, behind=await as_fault(confirming))  # first, as what is on disk may have to follow it
        require_sent(runtime.spool, execution_id)
        runtime.copy_files(execution_id)
        parts = await as_fault(
            session_writes(
                runtime.control_plane,
                execution_id,
                turn.messages,
                first=turn.first,
                user_id=turn.user_id,
                turn=turn.turn,
            )
        )
        last = parts.pop() if parts else None
        for part in parts:
            await as_fault(delivery.required(part))
        if turn.behind:  # in a request of its own, which may have to wait
            await as_fault(runtime.writer.publish(execution_id, turn.events, turn.behind))
        at_once = names.FEATURE_BATCH in runtime.control_plane.features
        status = await as_fault(self._end_at_once(turn, last) if at_once else self._end_by_steps(turn, last))
        if ex.is_final(status):
            runtime.forget(execution_id)
        return calls.TurnResult(status)

    async def _end_at_once(self, turn: calls.TurnInput, session: Write | None) -> str:
        """End the turn in one request and return the status that the control plane decided on."""
        delivery, features = self._runtime.delivery, self._runtime.control_plane.features
        about = {"turn_number": turn.turn}
        call_records = [
            records.tool_call({**record, "metadata": {**(record.get("metadata") or {}), **about}})
            for record in self._calls_of(turn)
        ]
        stages: list[list[Write]] = [
            [writes.events(turn.execution_id, turn.events)] if turn.events and not turn.behind else [],
            [*([session] if session else []), *([writes.tool_calls(call_records)] if call_records else [])],
            [writes.turn(records.turn(turn.turn_record))] if turn.turn_record else [],
        ]
        decided_at = sum(map(len, stages)) - 1
        conditional = names.FEATURE_BATCH_IF in features and not turn.force_status and not turn.more_input
        if conditional and turn.turn_record:
            for expected in (ex.COMPLETED, ex.WAITING):
                stages.append([replace(write, if_status=expected) for write in _outcome(turn, expected)])
        answers = await delivery.together(*stages)
        decided = answers[decided_at].get("next_status") if turn.turn_record else None
        status = turn.force_status or str(decided or turn_end.decide(turn)).lower()
        if turn.more_input and status == ex.COMPLETED:
            status = ex.RUNNING
        if not (conditional and any(answers[decided_at + 1 :])):
            await delivery.together(_outcome(turn, status))
        return status

    def _calls_of(self, turn: calls.TurnInput) -> list[dict[str, Any]]:
        return turn_end.with_results(turn.tool_records, turn.messages, self._runtime.redactor_of(turn.execution_id))

    async def _end_by_steps(self, turn: calls.TurnInput, session: Write | None) -> str:
        runtime, execution_id = self._runtime, turn.execution_id
        seen = runtime.memory.contexts.get(execution_id) is not None
        turn = replace(turn, tool_records=self._calls_of(turn))
        posted = runtime.memory.turns.get(execution_id)
        steps = turn_end.TurnEnd(runtime.control_plane, runtime.delivery, turn, posted, seen=seen)
        decided = await steps.run(session, lambda posted: runtime.memory.turns.put(execution_id, posted))
        status = ex.RUNNING if turn.more_input and decided == ex.COMPLETED else decided
        outcome = _outcome(turn, status)
        if status != decided:  # what the control plane decided is on the row
            outcome = [writes.execution(execution_id, status=status)]
        await steps.settle(status, outcome)
        return status

    @activity.defn(name=names.STORE_SESSION)
    async def store_session(self, kept: calls.SessionInput) -> None:
        """Store messages that the workflow is about to drop. It may be repeated.

        Raises a failure that is not retried where they are not taken; the workflow then keeps them.
        """
        about = {"user_id": kept.user_id, "turn": kept.turn}
        plane = self._runtime.control_plane
        keeping = session_writes(plane, kept.execution_id, kept.messages, first=kept.first, **about)
        for part in await as_fault(keeping):
            if await as_fault(self._runtime.delivery.required(part)) is None:
                raise ApplicationError(
                    "The control plane does not take the session", type="Refused", non_retryable=True
                )


def _outcome(turn: calls.TurnInput, status: str) -> list[Write]:
    """Return the writes for a turn that ended with `status`; none while the execution goes on."""
    if ex.is_final(status):
        patch = {**turn.final_fields, "status": status, "completed_at": ev.now()}
        agent_status = ex.COMPLETED if status == ex.COMPLETED else ex.FAILED
        failure = [writes.events(turn.execution_id, turn.last)] if turn.last and status == ex.FAILED else []
        return [
            *failure,
            writes.execution(turn.execution_id, **patch),
            *writes.agent_status(turn.kind, turn.agent_id, agent_status),
        ]
    if status == ex.WAITING:
        fields = {key: turn.final_fields[key] for key in ("response", "usage", "sequel") if key in turn.final_fields}
        return [writes.execution(turn.execution_id, status=ex.WAITING, **fields)]
    return []
