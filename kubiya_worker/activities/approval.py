"""Activities that ask a person for approval and get the answer (docs/protocol.md#a9).

The control plane decides the id of a request: ours takes the one that the worker proposes; the published one assigns
its own and does not detect repeats. So the worker also puts the proposed id into `enforcement_context`, to find a
request again that was made before a worker died.
"""

from __future__ import annotations

import math
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from kubiya_worker.activities.control_plane_calls import as_fault, ask
from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.control_plane import lenient
from kubiya_worker.control_plane.errors import ControlPlaneError, Unreachable
from kubiya_worker.protocol import calls, names
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol.streams import RunStream

KEY: Final = "approval_key"  # in enforcement_context: the id that the worker proposes
NAME: Final = 255  # characters of a tool's name that the published server takes
RISK: Final = 50
BROKEN: Final = 5  # times that a request which the server answers with 500 is made: then its values are at fault
GONE: Final = (404, 410)
DECISIONS: Final = ("approved", "rejected", "expired")


class ApprovalActivities:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @activity.defn(name=names.REQUEST_APPROVAL)
    async def request_approval(self, asked: calls.ApprovalInput) -> calls.ApprovalAsked:
        """Create the request once, publish it, mark the execution as waiting, and return the request's id."""
        control_plane, request = self._runtime.control_plane, asked.request
        signals = names.FEATURE_APPROVAL_SIGNAL in control_plane.features
        row = self._request(asked)
        stored = None if signals else await self._made_before(row)
        if stored is None:
            if not signals:
                row = await self._for_published(row, asked)
            stored = await self._create(row)
        writer, stream = self._runtime.writer, RunStream(asked.execution_id, asked.member)
        behind = await as_fault(self._runtime.in_flight.confirm(writer, stream, asked.unconfirmed, asked.behind))
        approval_id, expires = str(stored.get("id") or asked.approval_id), utc(stored.get("expires_at"))
        if asked.member is None:
            await ask(control_plane.patch_execution, asked.execution_id, status=ex.WAITING)
        data = {
            **{key: row[key] for key in ("execution_id", "tool_name", "tool_args")},
            "tool_execution_id": asked.tool_execution_id,
            "approval_id": approval_id,
            "status": "pending",
            "risk_level": request.risk_level,
            "reason": request.reason,
            "arguments_hash": request.arguments_hash,
            "expires_at": expires.isoformat() if expires and not signals else asked.expires_at,
            **({"enforcement": request.enforcement} if request.enforcement else {}),
        }
        event = ev.event(f"approval_requested:{approval_id}", ev.APPROVAL_REQUESTED, data)
        event |= {"after": behind} if behind else {}
        await as_fault(writer.publish(stream.id, stream.shown([event])))
        return calls.ApprovalAsked(approval_id, str(data["expires_at"]) if data["expires_at"] else None)

    def _request(self, asked: calls.ApprovalInput) -> dict[str, Any]:
        request, member = asked.request, asked.member
        context = {**request.enforcement, "tool_execution_id": asked.tool_execution_id, KEY: asked.approval_id}
        row = {
            "id": asked.approval_id,
            "execution_id": asked.execution_id,
            "tool_name": request.tool_name,
            "tool_execution_id": asked.tool_execution_id,
            "tool_args": self._runtime.redactor.value(request.arguments),
            "arguments_hash": request.arguments_hash,
            "risk_level": request.risk_level,
            "rule_id": request.rule_id,
            "reason": request.reason,
            "approver_emails": request.approver_emails,
            "timeout_minutes": request.timeout_minutes,
        }
        if member is not None:  # the team's: there it is seen, and answered
            row |= {
                "execution_id": member.stream,
                "tool_execution_id": f"{asked.execution_id}:{asked.tool_execution_id}",
            }
            context |= {"tool_execution_id": row["tool_execution_id"]}
            context |= {"member_name": member.name, "member_path": member.path}
        return {**row, "enforcement_context": context}

    async def _made_before(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Find the same request from before a crash, as a second one would ask the same person twice. None: no such."""
        rows = await ask(self._runtime.control_plane.approvals.of, request["execution_id"])
        key = request["enforcement_context"][KEY]
        return next((row for row in rows if lenient.mapping(row.get("enforcement_context")).get(KEY) == key), None)

    async def _for_published(self, row: dict[str, Any], asked: calls.ApprovalInput) -> dict[str, Any]:
        """Return the request within the limits of the published server, with a person who may decide it."""
        request = asked.request
        rules = await self._rules_of_now(row)
        rule = rules.get("rule") if isinstance(rules.get("rule"), dict) else {}
        named = rules.get("approver_emails")
        named = [named] if isinstance(named, str) and named else named if isinstance(named, list) else []
        emails = [str(email) for email in named or request.approver_emails if email]
        group = request.approver_group
        if rule and rule.get("approver_type") == "group":
            group = str(rule.get("approver_value") or "")
        if not emails and not group and asked.user_email:
            emails = [asked.user_email]
        if not emails and not group:
            raise ApplicationError(
                "no approval rule names a person or a group for it, and the execution names no user. "
                "An approval rule for this tool says who may decide",
                type="NobodyDecides",
                non_retryable=True,
            )
        context = {**row["enforcement_context"], **({"approver_group_name": group} if group else {})}
        return {
            **row,
            "tool_name": row["tool_name"][:NAME],
            "risk_level": str(row["risk_level"] or "")[:RISK],
            "rule_id": row_id(rules.get("rule_id")) or row_id(request.rule_id),
            "approver_emails": emails,
            "timeout_minutes": max(1, math.ceil(request.timeout_minutes)),
            "enforcement_context": context,
        }

    async def _rules_of_now(self, row: dict[str, Any]) -> dict[str, Any]:
        """Ask the control plane for its approval rules. Return an empty object on failure: the worker's rules count.

        `auto_approved` of the answer is ignored: it is about the worker's key, not about the person of the execution.
        """
        question = {"tool_name": row["tool_name"], "tool_args": row["tool_args"]}
        try:
            return await ask(
                self._runtime.control_plane.approvals.approvers, {**question, "risk_level": row["risk_level"]}
            )
        except ApplicationError as error:
            activity.logger.warning("approval.rules_unavailable %s", error)
            return {}

    async def _create(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            return await ask(self._runtime.control_plane.approvals.create, row)
        except ApplicationError as error:
            cause = error.__cause__
            if isinstance(cause, Unreachable) and cause.status == 500 and activity.info().attempt >= BROKEN:
                raise ApplicationError(error.message, type="Refused", non_retryable=True) from cause
            raise

    @activity.defn(name=names.CHECK_APPROVAL)
    async def check_approval(self, approval_id: str) -> dict[str, Any]:
        """Return the answer to a request as the signal would carry it; empty while there is none."""
        control_plane = self._runtime.control_plane
        try:
            row = await ask(control_plane.approvals.get, approval_id)
        except ApplicationError as error:
            cause = error.__cause__
            if isinstance(cause, ControlPlaneError) and cause.status in GONE:
                return {"approval_id": approval_id, "decision": "expired", "reason": "it is not there any more"}
            raise
        now = datetime.now(UTC) - timedelta(seconds=control_plane.skew or 0.0)
        return answer(approval_id, row, now)

    @activity.defn(name=names.AWAIT_APPROVAL)
    async def await_approval(self, approval_id: str) -> dict[str, Any]:
        """Return the answer once there is one. Until then each attempt fails, and Temporal retries it."""
        try:
            answered = await self.check_approval(approval_id)
        except ApplicationError as error:
            raise _later(error.message) from error
        if not answered:
            raise _later("Nobody has answered yet")
        return answered


def _later(text: str) -> ApplicationError:
    return ApplicationError(text, type="NotAnswered", category=ApplicationErrorCategory.BENIGN)


def answer(approval_id: str, row: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return the answer in a row of the control plane; empty while there is none. Does no I/O.

    The published server never expires a request and takes a late decision, so the worker compares `expires_at`.
    """
    status, expires = str(row.get("status") or "").lower(), utc(row.get("expires_at"))
    decided = utc(row.get("resolved_at"))
    if expires is not None and (decided or now) > expires and status in ("pending", "approved", "rejected"):
        status = "expired"
    if status not in DECISIONS:
        return {}
    return {
        "approval_id": approval_id,
        "decision": status,
        "approver": {"email": row.get("approved_by_email"), "name": row.get("approved_by_name")},
        "reason": row.get("rejection_reason"),
    }


def utc(text: Any) -> datetime | None:
    """Parse a time of a control plane, which is UTC where it names no zone. Return None for anything else."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def row_id(value: Any) -> str | None:
    """Return the id of a row if it is a UUID, else None: the server fails on any other."""
    try:
        return str(uuid.UUID(str(value)))
    except ValueError:
        return None
