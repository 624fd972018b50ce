"""`call_tool` runs one tool call after the policy has allowed it."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from temporalio import activity

from kubiya_worker.activities.attempts import heartbeats
from kubiya_worker.activities.delegation import Asking, communication
from kubiya_worker.activities.equipment import redactor_for, toolset_of, variables_of
from kubiya_worker.activities.history import context_of, message_of
from kubiya_worker.activities.listing import relisted
from kubiya_worker.activities.progress import Progress
from kubiya_worker.activities.ruling import Ruling, rule
from kubiya_worker.activities.runtime import Runtime, workspace_of
from kubiya_worker.protocol import calls, names, taint, team
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import messages as m
from kubiya_worker.tools import ask_person, contained, results
from kubiya_worker.tools.arguments import parse_arguments
from kubiya_worker.tools.base import KEEP_LIMIT, Tool, ToolArgumentsError, ToolContext, ToolResult

# What the model reads when its call did not come as a whole. What is missing is not known, so nothing is run.
_CUT: Final = {
    "length": "Your answer was cut at the token limit within the arguments of {tool}; nothing was run. Call it again "
    "with shorter arguments, if need be in several calls.",
    "size": "The arguments of {tool} are too large to be kept; nothing was run. Call it again with shorter arguments, "
    "if need be in several calls.",
}
EVENT_OUTPUT: Final = 10_000  # characters of a tool's output in its event; the conversation has all of it


class ToolActivities:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @activity.defn(name=names.CALL_TOOL)
    async def call_tool(self, call: calls.ToolInput) -> calls.ToolOutcome:
        """Run the call, or return the question for a person. A tool's failure is its result, not an exception."""
        runtime = self._runtime
        async with heartbeats():
            context = await context_of(runtime, call.execution_id, call.tools_version)
            toolset = await toolset_of(runtime, call.execution_id, context)
            tool = toolset.get(call.tool_name)
            member = team.member_of(context.members, call.tool_name)
            spec = team.spec_of(member) if member else tool.spec if tool else None
            if spec is None:
                known = ", ".join(str(tool["name"]) for tool in context.tools) or "none"
                text = f"There is no tool {call.tool_name!r}. Tools: {known}."
                return await self._without_running(call, context, text, {})
            if call.cut:
                return await self._without_running(call, context, _CUT[call.cut].format(tool=call.tool_name), {})
            raw = call.arguments if call.arguments is not None else await self._look_up(call)
            try:
                taken = ask_person.answered(spec) if spec.asks and call.grant is not None else spec
                arguments = parse_arguments(taken, raw)
            except ToolArgumentsError as error:
                return await self._without_running(call, context, str(error), {})
            hashed = m.arguments_hash(call.tool_name, arguments)
            ruling = await rule(runtime, call, context, spec, arguments)
            if ruling.decision.kind == "deny":
                return await self._without_running(call, context, ruling.text, arguments, m.TOOL_DENIED, ruling)
            if ruling.decision.kind == "ask":
                if call.grant is not None:
                    text = "The approval does not cover these arguments; the call was not run."
                    return await self._without_running(call, context, text, arguments, m.TOOL_DENIED, ruling)
                return calls.ToolOutcome(approval=_request(call, arguments, hashed, ruling))
            if member is not None:
                outcome = calls.ToolOutcome(delegation=team.task_text(arguments))
                return await self._hand_over(call, context, str(member["name"]), arguments, ruling, outcome)
            asks = communication(tool)
            if asks is not None:
                asking = Asking(runtime, call, context, asks)
                whom = await asking.whom(arguments) if asking.waits else None
                if whom is not None:
                    outcome = calls.ToolOutcome(delegation=team.task_text(arguments), delegate=whom)
                    return await self._hand_over(call, context, whom["name"], arguments, ruling, outcome)
                tool = asking
            assert tool is not None
            return await self._run(call, tool, arguments, context, ruling)

    async def _hand_over(
        self,
        call: calls.ToolInput,
        context: calls.Context,
        member: str,
        arguments: dict[str, Any],
        ruling: Ruling,
        outcome: calls.ToolOutcome,
    ) -> calls.ToolOutcome:
        """Publish the start of an allowed call of a team's member. The workflow makes the call."""
        publisher = self._runtime.publisher(call, context)
        redactor = await redactor_for(self._runtime, call.execution_id, context)
        async with publisher as out:
            about = {"delegate": member, "message": f"Asking {member}"}
            out.emit(_started(call, context, redactor.value(arguments), ruling, about))
        outcome.undelivered, outcome.spooled = publisher.undelivered, publisher.spooled
        outcome.events = publisher.sent
        return outcome

    async def _look_up(self, call: calls.ToolInput) -> str:
        message = await message_of(self._runtime, call.execution_id, call.message_id)
        return next(str(c["arguments"]) for c in message["tool_calls"] if c["id"] == call.tool_execution_id)

    async def _run(
        self, call: calls.ToolInput, tool: Tool, arguments: dict[str, Any], context: calls.Context, ruling: Ruling
    ) -> calls.ToolOutcome:
        runtime = self._runtime
        workspace = workspace_of(runtime, call.execution_id, context)
        await asyncio.to_thread(workspace.mkdir, mode=0o700, parents=True, exist_ok=True)
        environment = await variables_of(runtime, call.execution_id, context)
        redactor = await redactor_for(self._runtime, call.execution_id, context)
        publisher = self._runtime.publisher(call, context)
        async with publisher as out:
            out.emit(_started(call, context, redactor.value(arguments), ruling))
            began, started_at = time.monotonic(), ev.now()
            progress = Progress(call, out, redactor)
            tool_context = ToolContext(
                call.execution_id,
                call.tool_execution_id,
                workspace,
                environment,
                keep_limit=KEEP_LIMIT,
                tell=progress.tell,
            )
            try:
                status, result = await self._await_tool(tool, arguments, tool_context)
            except asyncio.CancelledError:
                details = activity.cancellation_details()
                asked = details and not details.worker_shutdown  # by a person, which happens during a drain too
                if asked or not activity.is_worker_shutdown():
                    out.emit(
                        _completed(call, context, m.TOOL_FAILED, "", "cancelled", time.monotonic() - began, ruling)
                    )
                    raise
                # The grace period is over. The outcome has to be told here, for a tool that must not run twice.
                if tool.spec.idempotent:
                    raise
                text = f"Outcome unknown: the worker stopped while {call.tool_name} ran, and ended it."
                status, result = m.TOOL_UNKNOWN, ToolResult(text, text)
            seconds = time.monotonic() - began
            # Off the event loop: a result can be of megabytes, and the worker's heartbeats must not wait for it.
            whole = await asyncio.to_thread(redactor.text, result.output)
            error = redactor.text(result.error) if result.error else None
            output, kept = await results.fitted(whole, tool_context.output_limit, workspace, call.tool_execution_id)
            lines, files = await results.stored(result.files, workspace, call.tool_execution_id)
            output = "\n".join((*([output] if output else ()), *map(redactor.text, lines)))
            about = redactor.value(result.metadata) | ({"output_file": kept} if kept else {})
            about |= {"files": files} if files else {}
            out.emit(_completed(call, context, status, output, error, seconds, ruling, about))
        message = _message(
            call, output if not error or error in output else f"{output}\n{error}".strip(), status, error
        )
        images = [file for file in files if file["type"] in m.IMAGE_TYPES]
        if images:
            message = {**message, "images": images}
        tainted = taint.tainted_by(context.taint, tool.spec, result.taints, result.remote)
        if tainted:
            message = {**message, "tainted": True}
        runtime.transcripts.leave(call.execution_id, message)
        fresh = await relisted(runtime, call.execution_id, context) if tool.spec.source == "mcp" else {}
        record = {
            "execution_id": call.execution_id,
            "tool_name": call.tool_name,
            "tool_use_id": call.tool_execution_id,
            "started_at": started_at,
            "completed_at": ev.now(),
            "duration_ms": round(seconds * 1000),
            "tool_output_size": len(whole),
            "success": status == m.TOOL_SUCCESS,
            "error_message": (error or "")[:500] or None,
        }
        return calls.ToolOutcome(
            message=message,
            record=record,
            undelivered=publisher.undelivered,
            spooled=publisher.spooled,
            taints=tainted,
            relisted=fresh,
            events=publisher.sent,
        )

    async def _await_tool(self, tool: Tool, arguments: dict[str, Any], context: ToolContext) -> tuple[str, ToolResult]:
        """Run the tool within its time limit. Whatever it raises or returns becomes the result of this call."""
        longest = self._runtime.longest_call
        patience = tool.spec.timeout + 10 if longest is None else min(longest, tool.spec.timeout + 10)
        name = tool.spec.name
        try:
            result = results.cleaned(await contained.contained(lambda: tool.run(arguments, context), patience))
        except TimeoutError:
            text = f"{name} did not end within {min(patience, tool.spec.timeout):g} s and was stopped."
            return m.TOOL_FAILED, ToolResult(text, text)
        except contained.Broke as error:  # a bug in a tool: the model and the log hear of it, the execution goes on
            activity.logger.error("tool.broke tool=%s error=%s at=%s", name, error, error.where)
            text = f"{name} broke: {error}"
            return m.TOOL_FAILED, ToolResult(text, text)
        return (m.TOOL_FAILED if result.error else m.TOOL_SUCCESS), result

    async def _without_running(
        self,
        call: calls.ToolInput,
        context: calls.Context,
        text: str,
        arguments: dict[str, Any],
        status: str = m.TOOL_FAILED,
        ruling: Ruling | None = None,
    ) -> calls.ToolOutcome:
        """Return the outcome of a call that was not run. The model and the clients get the reason."""
        redactor = await redactor_for(self._runtime, call.execution_id, context)
        text = redactor.text(text)
        publisher = self._runtime.publisher(call, context)
        async with publisher as out:
            out.emit(_started(call, context, redactor.value(arguments), ruling))
            out.emit(_completed(call, context, status, "", text, 0.0, ruling))
        message = _message(call, text, status, text)
        self._runtime.transcripts.leave(call.execution_id, message)
        return calls.ToolOutcome(
            message=message, undelivered=publisher.undelivered, spooled=publisher.spooled, events=publisher.sent
        )


def _message(call: calls.ToolInput, content: str, status: str, error: str | None) -> m.Message:
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


def _started(
    call: calls.ToolInput,
    context: calls.Context,
    arguments: Any,
    ruling: Ruling | None,
    about: dict[str, Any] | None = None,
) -> ev.Event:
    data = {
        "tool_name": call.tool_name,
        "tool_execution_id": call.tool_execution_id,
        "tool_arguments": arguments,
        "message_id": call.message_id,
        "message": f"Running {call.tool_name}",
        "source": "team_leader" if context.members else "agent",
        **(about or {}),
        **_enforcement(ruling),
    }
    return ev.event(f"tool_started:{call.tool_execution_id}", ev.TOOL_STARTED, data)


def _enforcement(ruling: Ruling | None) -> dict[str, Any]:
    return {"enforcement": ruling.enforcement} if ruling is not None and ruling.enforcement else {}


def _completed(
    call: calls.ToolInput,
    context: calls.Context,
    status: str,
    output: str,
    error: str | None,
    seconds: float,
    ruling: Ruling | None = None,
    metadata: Any = None,
) -> ev.Event:
    cut = (
        output
        if len(output) <= EVENT_OUTPUT
        else f"{output[:EVENT_OUTPUT]}\n[{len(output) - EVENT_OUTPUT} characters more]"
    )
    success = status == m.TOOL_SUCCESS
    data = {
        "tool_name": call.tool_name,
        "tool_execution_id": call.tool_execution_id,
        "status": "success" if success else "failed",
        "outcome": status,
        "tool_output": cut,
        "tool_result": {"success": success, **(metadata or {})},
        "tool_error": error,
        "message": f"{call.tool_name} {'done' if success else 'failed'}",
        "message_id": call.message_id,
        "duration_seconds": round(seconds, 3),
        "source": "team_leader" if context.members else "agent",
        **_enforcement(ruling),
    }
    return ev.event(f"tool_completed:{call.tool_execution_id}", ev.TOOL_COMPLETED, data)


def _request(
    call: calls.ToolInput,
    arguments: dict[str, Any],
    hashed: str,
    ruling: Ruling,
) -> calls.ApprovalRequest:
    decision = ruling.decision
    approvers = decision.approver_value if decision.approver_type == "user_emails" else None
    if isinstance(approvers, str):
        approvers = [part.strip() for part in approvers.split(",") if part.strip()]
    return calls.ApprovalRequest(
        tool_name=call.tool_name,
        arguments=arguments,
        arguments_hash=hashed,
        risk_level=decision.risk,
        reason=decision.reason,
        rule_id=decision.rule_id,
        approver_emails=list(approvers or []),
        timeout_minutes=float(decision.timeout_minutes),
        enforcement=ruling.enforcement,
        approver_group=str(decision.approver_value or "") if decision.approver_type == "group" else "",
    )
