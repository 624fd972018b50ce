"""The records of a tool call: its two events, its message for the model, its entry in the turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.activities.policy_decision import Ruling
from kubiya_worker.protocol import calls, names
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import messages as m

EVENT_OUTPUT: Final = 10_000  # characters of a tool's output in its event; the conversation has all of it


@dataclass(frozen=True)
class ToolRecords:
    """The records of one call. All texts that they are made from are redacted."""

    call: calls.ToolInput
    context: calls.Context

    def started(
        self,
        arguments: Any,
        ruling: Ruling | None,
        about: Mapping[str, Any] | None = None,
        step: Mapping[str, Any] | None = None,
    ) -> ev.Event:
        """Return the event `tool_started`. `about` adds to its data; `step` says who runs it."""
        call = self.call
        data = {
            "tool_name": call.tool_name,
            "tool_execution_id": call.tool_execution_id,
            "tool_arguments": arguments,
            "message_id": call.message_id,
            "message": f"Running {call.tool_name}",
            "source": self._source(),
            **(about or {}),
            **({"step": step} if step else {}),
            **_enforcement(ruling),
        }
        return ev.event(f"tool_started:{call.tool_execution_id}", ev.TOOL_STARTED, data)

    def completed(
        self,
        status: str,
        *,
        seconds: float,
        ruling: Ruling | None,
        output: str = "",
        error: str | None,
        metadata: Mapping[str, Any] | None = None,
    ) -> ev.Event:
        """Return the event `tool_completed`, with the beginning of the output."""
        call, success = self.call, status == m.TOOL_SUCCESS
        left_out = len(output) - EVENT_OUTPUT
        data = {
            "tool_name": call.tool_name,
            "tool_execution_id": call.tool_execution_id,
            "status": "success" if success else "failed",
            "outcome": status,
            "tool_output": output if left_out <= 0 else f"{output[:EVENT_OUTPUT]}\n[{left_out} characters more]",
            "tool_result": {"success": success, **(metadata or {})},
            "tool_error": error,
            "message": f"{call.tool_name} {'done' if success else 'failed'}",
            "message_id": call.message_id,
            "duration_seconds": round(seconds, 3),
            "source": self._source(),
            **_enforcement(ruling),
        }
        return ev.event(f"tool_completed:{call.tool_execution_id}", ev.TOOL_COMPLETED, data)

    def _source(self) -> str:
        return "team_leader" if self.context.members else "agent"

    def message(self, content: str, status: str, error: str | None) -> m.Message:
        """Return the message with which the model gets the result of its call."""
        call = self.call
        message: m.Message = {
            "role": "tool",
            "content": content,
            "message_id": names.tool_message_id(call.execution_id, call.tool_execution_id),
            "timestamp": ev.now(),
            "tool_call_id": call.tool_execution_id,
            "tool_name": call.tool_name,
            "status": status,
        }
        return {**message, "tool_error": error[:500]} if error and error != content else message

    def entry(self, status: str, error: str | None, started_at: str, seconds: float, size: int) -> dict[str, Any]:
        """Return the call's entry in the control plane's record of the turn; `size` is in characters."""
        return {
            "execution_id": self.call.execution_id,
            "tool_name": self.call.tool_name,
            "tool_use_id": self.call.tool_execution_id,
            "started_at": started_at,
            "completed_at": ev.now(),
            "duration_ms": round(seconds * 1000),
            "tool_output_size": size,
            "success": status == m.TOOL_SUCCESS,
            "error_message": (error or "")[:500] or None,
        }


def _enforcement(ruling: Ruling | None) -> dict[str, Any]:
    return {"enforcement": ruling.enforcement} if ruling is not None and ruling.enforcement else {}


def approval_request(call: calls.ToolInput, arguments: dict[str, Any], ruling: Ruling) -> calls.ApprovalRequest:
    """Return the question for a person. Its hash ties the answer to exactly these arguments."""
    decision = ruling.decision
    approvers = decision.approver_value if decision.approver_type == "user_emails" else None
    if isinstance(approvers, str):
        approvers = [part.strip() for part in approvers.split(",") if part.strip()]
    return calls.ApprovalRequest(
        tool_name=call.tool_name,
        arguments=arguments,
        arguments_hash=m.arguments_hash(call.tool_name, arguments),
        risk_level=decision.risk,
        reason=decision.reason,
        rule_id=decision.rule_id,
        approver_emails=list(approvers or []),
        timeout_minutes=float(decision.timeout_minutes),
        enforcement=ruling.enforcement,
        approver_group=str(decision.approver_value or "") if decision.approver_type == "group" else "",
    )
