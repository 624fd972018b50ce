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
        ours = names.FEATURE_APPROVAL_SIGNAL in control_plane.features
        wanted = self._request(asked)
        made = None if ours else await self._made_before(wanted)
        if made is None:
            if not ours:
                wanted = await self._for_published(wanted, asked)
            made = await self._create(wanted)
        writer, stream = self._runtime.writer, RunStream(asked.execution_id, asked.member)
        behind = await as_fault(self._runtime.in_flight.confirm(writer, stream, asked.unconfirmed, asked.behind))
        approval_id, expires = str(made.get("id") or asked.approval_id), utc(made.get("expires_at"))
        if asked.member is None:
            await ask(control_plane.patch_execution, asked.execution_id, status=ex.WAITING)
        data = {
            **{key: wanted[key] for key in ("execution_id", "tool_name", "tool_args")},
            "tool_execution_id": asked.tool_execution_id,
            "approval_id": approval_id,
            "status": "pending",
            "risk_level": request.risk_level,
            "reason": request.reason,
            "arguments_hash": request.arguments_hash,
            "expires_at": expires.isoformat() if expires and not ours else asked.expires_at,
            **({"enforcement": request.enforcement} if request.enforcement else {}),
        }
        event = ev.event(f"approval_requested:{approval_id}", ev.APPROVAL_REQUESTED, data)
        event |= {"after": behind} if behind else {}
        await as_fault(writer.publish(stream.id, stream.shown([event])))
        return calls.ApprovalAsked(approval_id, str(data["expires_at"]) if data["expires_at"] else None)

    def _request(self, asked: calls.ApprovalInput) -> dict[str, Any]:
        request, member = asked.request, asked.member
        context = {**request.enforcement, "tool_execution_id": asked.tool_execution_id, KEY: asked.approval_id}
        wanted = {
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
            wanted |= {
                "execution_id": member.stream,
                "tool_execution_id": f"{asked.execution_id}:{asked.tool_execution_id}",
            }
            context |= {"tool_execution_id": wanted["tool_execution_id"]}
            context |= {"member_name": member.name, "member_path": member.path}
        return {**wanted, "enforcement_context": context}

    async def _made_before(self, wanted: dict[str, Any]) -> dict[str, Any] | None:
        """Find the same request from before a crash, as a second one would ask the same person twice. None: no such."""
        found = await ask(self._runtime.control_plane.approvals_of, wanted["execution_id"])
        key = wanted["enforcement_context"][KEY]
        return next((row for row in found if lenient.mapping(row.get("enforcement_context")).get(KEY) == key), None)

    async def _for_published(self, wanted: dict[str, Any], asked: calls.ApprovalInput) -> dict[str, Any]:
        """Return the request within the limits of the published server, with a person who may decide it."""
        request = asked.request
        rules = await self._rules_of_now(wanted)
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
        context = {**wanted["enforcement_context"], **({"approver_group_name": group} if group else {})}
        return {
            **wanted,
            "tool_name": wanted["tool_name"][:NAME],
            "risk_level": str(wanted["risk_level"] or "")[:RISK],
            "rule_id": row_id(rules.get("rule_id")) or row_id(request.rule_id),
            "approver_emails": emails,
            "timeout_minutes": max(1, math.ceil(request.timeout_minutes)),
            "enforcement_context": context,
        }

    async def _rules_of_now(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Ask the control plane for its approval rules. Return an empty object on failure: the worker's rules count.

        `auto_approved` of the answer is ignored: it is about the worker's key, not about the person of the execution.
        """
        question = {"tool_name": wanted["tool_name"], "tool_args": wanted["tool_args"]}
        try:
            return await ask(
                self._runtime.control_plane.resolve_approvers, {**question, "risk_level": wanted["risk_level"]}
            )
        except ApplicationError as error:
            activity.logger.warning("approval.rules_unavailable %s", error)
            return {}

    async def _create(self, wanted: dict[str, Any]) -> dict[str, Any]:
        try:
            return await ask(self._runtime.control_plane.create_approval, wanted)
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
            found = await ask(control_plane.get_approval, approval_id)
        except ApplicationError as error:
            cause = error.__cause__
            if isinstance(cause, ControlPlaneError) and cause.status in GONE:
                return {"approval_id": approval_id, "decision": "expired", "reason": "it is not there any more"}
            raise
        now = datetime.now(UTC) - timedelta(seconds=control_plane.skew or 0.0)
        return answer(approval_id, found, now)

    @activity.defn(name=names.AWAIT_APPROVAL)
    async def await_approval(self, approval_id: str) -> dict[str, Any]:
        """Return the answer once there is one. Until then each attempt fails, and Temporal retries it."""
        try:
            found = await self.check_approval(approval_id)
        except ApplicationError as error:
            raise _later(error.message) from error
        if not found:
            raise _later("Nobody has answered yet")
        return found


def _later(text: str) -> ApplicationError:
    return ApplicationError(text, type="NotAnswered", category=ApplicationErrorCategory.BENIGN)


def answer(approval_id: str, found: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return the answer in a row of the control plane; empty while there is none. Does no I/O.

    The published server never expires a request and takes a late decision, so the worker compares `expires_at`.
    """
    status, expires = str(found.get("status") or "").lower(), utc(found.get("expires_at"))
    decided = utc(found.get("resolved_at"))
    if expires is not None and (decided or now) > expires and status in ("pending", "approved", "rejected"):
        status = "expired"
    if status not in DECISIONS:
        return {}
    return {
        "approval_id": approval_id,
        "decision": status,
        "approver": {"email": found.get("approved_by_email"), "name": found.get("approved_by_name")},
        "reason": found.get("rejection_reason"),
    }


def utc(text: Any) -> datetime | None:
    """Parse a time of a control plane, which is UTC where it names no zone. Return None for anything else."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def row_id(given: Any) -> str | None:
    """Return the id of a row if it is a UUID, else None: the server fails on any other."""
    try:
        return str(uuid.UUID(str(given)))
    except ValueError:
        return None
