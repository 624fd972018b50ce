"""Small calls about one execution: approvals, reports, the end after a cancellation."""

from __future__ import annotations

from typing import Any

from temporalio import activity

from kubiya_worker.activities import ending
from kubiya_worker.activities.events import on_stream
from kubiya_worker.activities.keeping import session_writes
from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.activities.session import as_fault, ask, require_sent
from kubiya_worker.control_plane import records, writes
from kubiya_worker.protocol import calls, names
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex


class ExecutionActivities:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @activity.defn(name=names.REQUEST_APPROVAL)
    async def request_approval(self, asked: calls.ApprovalInput) -> None:
        """Create the approval (the same id creates it once), tell whoever watches, mark the execution as waiting."""
        control_plane, request = self._runtime.control_plane, asked.request
        arguments = self._runtime.redactor.value(request.arguments)
        approval = {
            "id": asked.approval_id,
            "execution_id": asked.execution_id,
            "tool_name": request.tool_name,
            "tool_execution_id": asked.tool_execution_id,
            "tool_args": arguments,
            "arguments_hash": request.arguments_hash,
            "risk_level": request.risk_level,
            "rule_id": request.rule_id,
            "reason": request.reason,
            "approver_emails": request.approver_emails,
            "timeout_minutes": request.timeout_minutes,
            **({"enforcement_context": request.enforcement} if request.enforcement else {}),
        }
        if asked.member is not None:  # the team's: there it is seen, and answered
            approval |= {
                "execution_id": asked.member.stream,
                "tool_execution_id": f"{asked.execution_id}:{asked.tool_execution_id}",
                "enforcement_context": {
                    **request.enforcement,
                    "member_name": asked.member.name,
                    "member_path": asked.member.path,
                },
            }
        await ask(control_plane.create_approval, approval)
        if asked.member is None:
            await ask(control_plane.patch_execution, asked.execution_id, status=ex.WAITING)
        data = {
            **{key: approval[key] for key in ("execution_id", "tool_name", "tool_args")},
            "tool_execution_id": asked.tool_execution_id,
            "approval_id": asked.approval_id,
            "status": "pending",
            "risk_level": request.risk_level,
            "reason": request.reason,
            "arguments_hash": request.arguments_hash,
            "expires_at": asked.expires_at,
            **({"enforcement": request.enforcement} if request.enforcement else {}),
        }
        event = ev.event(f"approval_requested:{asked.approval_id}", ev.APPROVAL_REQUESTED, data)
        event |= {"after": asked.behind} if asked.behind else {}
        await as_fault(self._runtime.writer.publish(*on_stream(asked.execution_id, asked.member, [event])))

    @activity.defn(name=names.CHECK_APPROVAL)
    async def check_approval(self, approval_id: str) -> dict[str, Any]:
        """The answer to an approval as the signal would carry it; empty while there is none."""
        found = await ask(self._runtime.control_plane.get_approval, approval_id)
        if str(found.get("status")) not in ("approved", "rejected", "expired"):
            return {}
        return {
            "approval_id": approval_id,
            "decision": found["status"],
            "approver": {"email": found.get("approved_by_email"), "name": found.get("approved_by_name")},
            "reason": found.get("rejection_reason"),
        }

    @activity.defn(name=names.REPORT)
    async def report(self, report: calls.ReportInput) -> None:
        """Publish events in order and PATCH the execution; each may be repeated. The caller keeps what fails."""
        control_plane = self._runtime.control_plane
        if report.expire_approval:
            await ask(control_plane.expire_approval, report.expire_approval)
        if report.patch:
            patch = writes.execution(report.execution_id, **report.patch)
            await as_fault(self._runtime.delivery.required(patch))
        if report.events:
            await as_fault(self._runtime.writer.publish(*on_stream(report.execution_id, report.member, report.events)))

    @activity.defn(name=names.END_EXECUTION)
    async def end_execution(self, report: calls.ReportInput) -> None:
        """The last word on an execution that ends outside a turn; then nothing of it is kept here."""
        control_plane, execution_id = self._runtime.control_plane, report.execution_id
        delivery = self._runtime.delivery
        if report.messages:
            about = {"user_id": report.user_id, "turn": report.turn}
            keeping = session_writes(control_plane, execution_id, report.messages, first=report.first, **about)
            for part in await as_fault(keeping):
                await as_fault(delivery.required(part))
        last = [
            [writes.events(execution_id, report.events)] if report.events else [],
            [writes.execution(execution_id, **report.patch)] if report.patch else [],
        ]
        await as_fault(delivery.together(*last))
        status = str(report.patch.get("status") or "")
        if ex.is_final(status) and names.FEATURE_TURN_STATUS not in control_plane.features:
            await as_fault(ending.confirm(control_plane, delivery, execution_id, status))
        self._runtime.forget(execution_id)

    @activity.defn(name=names.END_MEMBER)
    async def end_member(self, end: calls.MemberEnd) -> None:
        """The last of a member's events, its tool calls into the team's record; then nothing of it is kept here."""
        require_sent(self._runtime.spool, end.member.stream)
        if end.events or end.behind:
            shown = on_stream(end.execution_id, end.member, end.events)
            await as_fault(self._runtime.writer.publish(*shown, end.behind))
        if end.tool_records:
            about = {"execution_id": end.member.stream, "metadata": end.member.about()}
            redactor = self._runtime.redactor_of(end.execution_id)
            made = [
                records.tool_call({**record, **about, "tool_use_id": f"{end.execution_id}:{record['tool_use_id']}"})
                for record in ending.told(end.tool_records, end.messages, redactor)
            ]
            await ending.post_calls(self._runtime.delivery, made)
        self._runtime.forget(end.execution_id)
