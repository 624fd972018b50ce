"""Small activities about one execution: reports, and the end after a cancellation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio import activity

from kubiya_worker.activities import turn_end
from kubiya_worker.activities.control_plane_calls import as_fault, ask, require_sent
from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.activities.session_storage import session_writes
from kubiya_worker.control_plane import records, writes
from kubiya_worker.protocol import calls, names
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol.streams import RunStream


class ExecutionActivities:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @activity.defn(name=names.REPORT)
    async def report(self, report: calls.ReportInput) -> None:
        """Publish events in order and PATCH the execution. Both may be repeated; the caller keeps what fails."""
        control_plane = self._runtime.control_plane
        if report.expire_approval and names.FEATURE_APPROVAL_SIGNAL in control_plane.features:
            await ask(control_plane.approvals.expire, report.expire_approval)
        if report.patch:
            patch = writes.execution(report.execution_id, **report.patch)
            await as_fault(self._runtime.delivery.required(patch))
        stream = RunStream(report.execution_id, report.member)
        await self._confirm(stream, report.unconfirmed)
        if report.events:
            await as_fault(self._runtime.writer.publish(stream.id, stream.shown(report.events)))

    async def _confirm(self, stream: RunStream, left: calls.Unconfirmed, behind: Sequence[str] = ()) -> list[str]:
        """Have the control plane store what steps have left behind. Return what may still be missing of `behind`."""
        writer = self._runtime.writer
        return await as_fault(self._runtime.in_flight.confirm(writer, stream, left, behind))

    @activity.defn(name=names.END_EXECUTION)
    async def end_execution(self, report: calls.ReportInput) -> dict[str, Any]:
        """Write the final status of an execution that ends outside of a turn, then drop what is kept of it here.

        `published` in the result says that clients learn of the end from the way the workflow closes.
        """
        control_plane, execution_id = self._runtime.control_plane, report.execution_id
        self._runtime.copy_files(execution_id)
        await self._confirm(RunStream(execution_id, report.member), report.unconfirmed)
        delivery, published = self._runtime.delivery, names.published(control_plane.features)
        if report.messages:
            about = {"user_id": report.user_id, "turn": report.turn}
            keeping = session_writes(control_plane, execution_id, report.messages, first=report.first, **about)
            for part in await as_fault(keeping):
                await as_fault(delivery.required(part))
        last = [
            [writes.events(execution_id, report.events)] if report.events else [],
            [writes.events(execution_id, _failure(report))] if published and report.error_type else [],
            [writes.execution(execution_id, **report.patch)] if report.patch else [],
        ]
        await as_fault(delivery.together(*last))
        status = str(report.patch.get("status") or "")
        if ex.is_final(status) and names.FEATURE_TURN_STATUS not in control_plane.features:
            await as_fault(turn_end.confirm(control_plane, delivery, execution_id, status))
        self._runtime.forget(execution_id)
        return {"published": published}

    @activity.defn(name=names.END_MEMBER)
    async def end_member(self, end: calls.MemberEnd) -> None:
        """Publish a member's last events and post its tool calls to the team's record, then drop what is kept of it."""
        stream = RunStream(end.execution_id, end.member)
        behind = await self._confirm(stream, end.unconfirmed, end.behind)
        require_sent(self._runtime.spool, stream.id)
        self._runtime.copy_files(end.execution_id)
        if end.events or behind:
            await as_fault(self._runtime.writer.publish(stream.id, stream.shown(end.events), behind))
        if end.tool_records:
            fields = {"execution_id": stream.id, "metadata": end.member.event_fields()}
            redactor = self._runtime.redactor_of(end.execution_id)
            rows = [
                records.tool_call({**record, **fields, "tool_use_id": f"{end.execution_id}:{record['tool_use_id']}"})
                for record in turn_end.with_results(end.tool_records, end.messages, redactor)
            ]
            await turn_end.post_calls(self._runtime.delivery, rows)
        self._runtime.forget(end.execution_id)


def _failure(report: calls.ReportInput) -> list[ev.Event]:
    text = str(report.patch.get("error_message") or "")
    return [ev.failed(report.execution_id, text, report.error_type, ev.now())]
