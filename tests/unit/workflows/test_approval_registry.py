"""Approvals as the workflow holds them."""

from __future__ import annotations

from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol.calls import ApprovalRequest
from kubiya_worker.workflows.approval_registry import ApprovalRegistry

ARGUMENTS = {"path": "a.txt", "content": "x"}
ASKED = ApprovalRequest("save_file", ARGUMENTS, m.arguments_hash("save_file", ARGUMENTS), "medium", "rule")


def asked() -> ApprovalRegistry:
    approvals = ApprovalRegistry()
    approvals.open("a1", ASKED, "call1", now=10.0)
    return approvals


def test_the_first_answer_counts() -> None:
    approvals = asked()
    approvals.answer({"approval_id": "a1", "decision": "rejected", "approver": {"email": "eve@x"}, "reason": "no"})
    approvals.answer({"approval_id": "a1", "decision": "approved"})
    answer = approvals.close("a1", ASKED, now=15.0)
    assert (answer.status, answer.text) == (m.TOOL_DENIED, "Denied by eve@x. Reason: no")
    assert approvals.waited == 5.0


def test_no_answer_is_expiry_and_not_denial() -> None:
    answer = asked().close("a1", ASKED, now=11.0)
    assert answer.status == m.TOOL_EXPIRED
    assert not answer.approved


def test_edited_arguments_are_granted_under_their_own_hash() -> None:
    approvals = asked()
    edited = {"path": "b.txt", "content": "x"}
    approvals.answer({"approval_id": "a1", "decision": "approved", "arguments": edited})
    answer = approvals.close("a1", ASKED, now=11.0)
    assert answer.approved
    assert answer.arguments_hash == m.arguments_hash("save_file", edited) != ASKED.arguments_hash
    assert answer.arguments == m.canonical(edited)


def test_an_answer_that_is_malformed_is_no_answer() -> None:
    approvals = asked()
    approvals.answer({"approval_id": "a1", "decision": "maybe"})
    approvals.answer({"decision": "approved"})
    assert not approvals.has_answer("a1")


def test_remember_covers_the_same_arguments_only() -> None:
    approvals = asked()
    approvals.answer({"approval_id": "a1", "decision": "approved", "remember": True, "approver": {"name": "Ann"}})
    approvals.close("a1", ASKED, now=11.0)
    again = approvals.remembered(ASKED)
    assert again is not None and again.approver == "Ann"
    other = ApprovalRequest("save_file", {}, m.arguments_hash("save_file", {}), "medium", "rule")
    assert approvals.remembered(other) is None
    assert ApprovalRegistry.restore(approvals.snapshot()).remembered(ASKED) is not None


def test_waiting_for_two_people_at_once_is_counted_once() -> None:
    approvals = asked()
    approvals.open("a2", ASKED, "call2", now=12.0)
    approvals.close("a1", ASKED, now=20.0)
    approvals.close("a2", ASKED, now=25.0)
    assert approvals.waited == 15.0
