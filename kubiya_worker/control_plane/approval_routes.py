"""The control plane's routes about approvals. Each method raises ControlPlaneError."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote

from kubiya_worker.control_plane import errors
from kubiya_worker.control_plane.answers import Answers

log = logging.getLogger(__name__)


class ApprovalRoutes:
    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def create(self, approval: dict[str, Any]) -> dict[str, Any]:
        return self._answers.object("POST", "/approvals", approval)

    def get(self, approval_id: str) -> dict[str, Any]:
        return self._answers.object("GET", f"/approvals/{quote(approval_id, safe='')}")

    def of(self, execution_id: str) -> list[dict[str, Any]]:
        """Return the newest requests for approval of an execution, newest first."""
        answer = self._answers.call("GET", f"/approvals?execution_id={quote(execution_id, safe='')}&limit=200")
        return [row for row in answer if isinstance(row, dict)] if isinstance(answer, list) else []

    def approvers(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return who may decide on a tool call, by the rules of now: {rule_id?, rule?, approver_emails, …}."""
        return self._answers.object("POST", "/approval-rules/resolve", question)

    def expire(self, approval_id: str) -> None:
        try:
            self._answers.call("POST", f"/approvals/{quote(approval_id, safe='')}/expire", {})
        except errors.Refused:
            log.info("approval.expire not taken by the control plane approval_id=%s", approval_id)
