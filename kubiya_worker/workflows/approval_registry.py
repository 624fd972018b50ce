"""This module keeps the approvals of one execution: asked, answered, remembered. It does no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol.calls import ApprovalRequest


@dataclass(frozen=True)
class ApprovalDecision:
    """A person's decision, or its absence. `arguments` is canonical JSON text when the person edited them."""

    approval_id: str
    status: str  # TOOL_SUCCESS: approved | TOOL_DENIED | TOOL_EXPIRED
    arguments_hash: str
    approver: str = ""
    text: str = ""
    arguments: str | None = None

    @property
    def approved(self) -> bool:
        return self.status == m.TOOL_SUCCESS


class ApprovalRegistry:
    """Open questions by approval id. An answer that comes before its question is open is kept."""

    def __init__(self) -> None:
        self._open: dict[str, dict[str, Any]] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._remembered: dict[str, str] = {}  # arguments_hash -> approver, for "remember for this execution"
        self.waited = 0.0  # seconds in which at least one question was open
        self._since = 0.0

    def open(self, approval_id: str, asked: ApprovalRequest, tool_execution_id: str, now: float) -> None:
        if not self._open:
            self._since = now
        self._open[approval_id] = {
            "approval_id": approval_id,
            "tool_name": asked.tool_name,
            "tool_execution_id": tool_execution_id,
            "arguments_hash": asked.arguments_hash,
            "risk_level": asked.risk_level,
            "reason": asked.reason,
        }

    def rename(self, approval_id: str, new_id: str) -> None:
        """Note that the control plane gave the open question `approval_id` an id of its own, `new_id`."""
        self._open[new_id] = {**self._open.pop(approval_id), "approval_id": new_id}

    def request(self, approval_id: str) -> dict[str, Any]:
        return self._open[approval_id]

    def open_requests(self) -> list[dict[str, Any]]:
        return list(self._open.values())

    def answer(self, answer: dict[str, Any]) -> None:
        """Take an answer. The first one counts; a second one to the same question changes nothing."""
        approval_id = str(answer.get("approval_id") or "")
        if approval_id and str(answer.get("decision")) in ("approved", "rejected", "expired"):
            self._answers.setdefault(approval_id, dict(answer))

    def answer_of(self, approval_id: str) -> dict[str, Any] | None:
        """Return the answer as it came; None while there is none."""
        return self._answers.get(approval_id)

    def has_answer(self, approval_id: str) -> bool:
        return approval_id in self._answers

    def close(self, approval_id: str, asked: ApprovalRequest, now: float) -> ApprovalDecision:
        """Close a question and return its verdict. Without an answer it expired, which is no denial. `now`: seconds."""
        self._open.pop(approval_id, None)
        if not self._open:
            self.waited += now - self._since
        answer = self._answers.get(approval_id, {"decision": "expired"})
        approver = answer.get("approver") or {}
        approver = approver if isinstance(approver, dict) else {"name": approver}
        approver_name = str(approver.get("email") or approver.get("name") or approver.get("id") or "a person")
        reason = str(answer.get("reason") or "").strip()
        if answer["decision"] == "expired":
            text = "Nobody answered the request for approval in time. This is not a denial; it may be asked again."
            text = f"Nobody can answer the request for approval: {reason}." if reason else text
            return ApprovalDecision(approval_id, m.TOOL_EXPIRED, asked.arguments_hash, text=text)
        if answer["decision"] == "rejected":
            text = f"Denied by {approver_name}." + (f" Reason: {reason}" if reason else "")
            return ApprovalDecision(approval_id, m.TOOL_DENIED, asked.arguments_hash, approver_name, text)
        edited = answer.get("arguments")
        if isinstance(edited, dict) and edited != asked.arguments:
            granted = m.arguments_hash(asked.tool_name, edited)
            return ApprovalDecision(approval_id, m.TOOL_SUCCESS, granted, approver_name, arguments=m.canonical(edited))
        if answer.get("remember"):
            self._remembered[asked.arguments_hash] = approver_name
        return ApprovalDecision(approval_id, m.TOOL_SUCCESS, asked.arguments_hash, approver_name)

    def remembered(self, asked: ApprovalRequest) -> ApprovalDecision | None:
        who = self._remembered.get(asked.arguments_hash)
        return ApprovalDecision("remembered", m.TOOL_SUCCESS, asked.arguments_hash, who) if who is not None else None

    def snapshot(self) -> dict[str, Any]:
        """Return the state for continue-as-new, which happens only when no question is open."""
        return {"answers": self._answers, "remembered": self._remembered, "waited": self.waited}

    @classmethod
    def restore(cls, saved: dict[str, Any]) -> ApprovalRegistry:
        approvals = cls()
        approvals._answers = dict(saved["answers"])
        approvals._remembered = dict(saved["remembered"])
        approvals.waited = float(saved["waited"])
        return approvals

    def take_over(self, earlier: ApprovalRegistry) -> None:
        """Take over the answers that arrived before the state was restored."""
        for answer in earlier._answers.values():
            self.answer(answer)
