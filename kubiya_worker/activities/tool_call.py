"""One tool call and the stages that it goes through: find, parse, judge, ask, run, redact, record.

Each stage is one function below, in this order, and `carry_out` calls them one after the other. A stage that ends the
call early raises `NotRun`: the tool was not run, and the model and the clients get the reason.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from temporalio import activity
from temporalio.exceptions import ApplicationError

from kubiya_worker.activities import long_command_place
from kubiya_worker.activities.attempts import place
from kubiya_worker.activities.delegation import Delegation, communication
from kubiya_worker.activities.execution_secrets import secrets_for
from kubiya_worker.activities.mcp_tools import relisted
from kubiya_worker.activities.policy_decision import Ruling, rule
from kubiya_worker.activities.progress import ToolProgress
from kubiya_worker.activities.publisher import Publisher
from kubiya_worker.activities.runtime import Runtime, workspace_of
from kubiya_worker.activities.step_resources import redactor_for, settings_of, toolset_of, variables_of
from kubiya_worker.activities.tool_records import ToolRecords, approval_request
from kubiya_worker.activities.workflow_context import message_of
from kubiya_worker.protocol import calls, names, same_failures, taint, team
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools import ask_person, isolation, results
from kubiya_worker.tools.arguments import parse_arguments
from kubiya_worker.tools.base import (
    KEEP_LIMIT,
    Tool,
    ToolArgumentsError,
    ToolContext,
    ToolResult,
    expanded,
)
from kubiya_worker.tools.redaction import Redactor
from kubiya_worker.tracing import current

# The model reads this when its call did not come as a whole. What is missing is not known, so nothing is run.
_CUT: Final = {
    "length": "Your answer was cut at the token limit within the arguments of {tool}; nothing was run. Call it again "
    "with shorter arguments, if need be in several calls.",
    "size": "The arguments of {tool} are too large to be kept; nothing was run. Call it again with shorter arguments, "
    "if need be in several calls.",
}
IN_THREAD: Final = 16_384  # characters of an output from which a thread redacts it


@dataclass
class ToolCall:
    """One call of a model. Each stage fills in the fields that later stages read."""

    runtime: Runtime
    asked: calls.ToolInput
    context: calls.Context
    # find
    tool: Tool | None = None  # None for the call of a team's member, which the workflow makes
    member: Mapping[str, Any] | None = None
    spec: ToolSpec = field(init=False)
    # parse
    arguments: dict[str, Any] = field(default_factory=dict)
    # judge
    ruling: Ruling | None = None
    # run
    announced: tuple[Any, ...] = ()  # details of the heartbeats, for the next attempt

    @property
    def records(self) -> ToolRecords:
        return ToolRecords(self.asked, self.context)

    def announce(self, about: dict[str, Any]) -> None:
        """Tell the next attempt of this call what it has to know of this one."""
        self.announced = (about,)
        activity.heartbeat(about)


class NotRun(Exception):
    """The call ends without a run. The message is for the model and the clients."""

    def __init__(self, reason: str, status: str = m.TOOL_FAILED) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Finished:
    """The end of a tool's run. `started_at` is a timestamp for people, `seconds` is from a monotonic clock."""

    status: str
    result: ToolResult
    started_at: str
    seconds: float


@dataclass(frozen=True)
class Shown:
    """A result as it may leave the worker: redacted, bounded, with larger parts in files of the workspace."""

    output: str
    error: str | None
    size: int  # characters of the whole output
    metadata: dict[str, Any]
    files: list[dict[str, Any]]

    @property
    def content(self) -> str:
        """Return what the model reads."""
        error = self.error
        return self.output if not error or error in self.output else f"{self.output}\n{error}".strip()


@dataclass(frozen=True)
class Noted:
    """The text that the model reads of a call.

    `failure` is the hash of a failure; `told` says that the text has the note about failures that come again.
    """

    content: str
    failure: str
    told: bool

    @property
    def outcome(self) -> dict[str, Any]:
        """Return the fields of the outcome."""
        return {"failure": self.failure, "told": self.told}


@dataclass(frozen=True)
class ToolAnswer:
    """The answer to a call: its result as it is shown, and the message that the model gets."""

    shown: Shown
    noted: Noted
    message: m.Message


async def carry_out(call: ToolCall) -> calls.ToolOutcome:
    """Take a call through its stages. A tool's failure is its result, not an exception."""
    try:
        await find(call)
        await parse(call)
        await judge(call)
        elsewhere = await ask(call)
    except NotRun as ended:
        return await _record_unrun(call, ended)
    if elsewhere is not None:
        return elsewhere
    surroundings, redactor = await _surroundings(call)
    try:
        return await _run_and_record(call, surroundings, redactor)
    except ImportError as error:  # as it is, it would count as a call that never began, and begin anew
        raise ApplicationError(str(error), type=names.NOT_STORED, non_retryable=True) from error


async def _run_and_record(call: ToolCall, surroundings: ToolContext, redactor: Redactor) -> calls.ToolOutcome:
    publisher = call.runtime.publisher(call.asked, call.context)
    async with publisher as out:
        finished = await run(call, surroundings, redactor, out)
        goes_on = call.asked.may_wait and finished.result.wait is not None
        answer = None if goes_on else await _answer(call, finished, surroundings, redactor, out)
    if answer is None:
        return _deferred(finished, publisher)
    return await record(call, finished, answer, publisher)


def _deferred(finished: Finished, publisher: Publisher) -> calls.ToolOutcome:
    """Return the outcome of a call that is not over: the workflow makes it again, after a wait or elsewhere."""
    assert finished.result.wait is not None
    key, seconds = finished.result.wait
    wait = calls.CallWait(key, seconds, began=finished.started_at, waited=finished.seconds)
    elsewhere = None
    if finished.result.elsewhere:
        host, queue = finished.result.elsewhere
        elsewhere = calls.CallPlace(host, queue)
    return calls.ToolOutcome(wait=wait, elsewhere=elsewhere, **_published(publisher))


async def _answer(
    call: ToolCall, finished: Finished, surroundings: ToolContext, redactor: Redactor, out: Publisher
) -> ToolAnswer:
    """Publish the end of a run, and return what the model and the clients get of its result."""
    shown = await redact(finished.result, redactor, surroundings)
    out.emit(
        call.records.completed(
            finished.status,
            seconds=finished.seconds,
            ruling=call.ruling,
            output=shown.output,
            error=shown.error,
            metadata=shown.metadata,
        )
    )
    noted = _noted(call, shown.content, finished.status, out)
    message = call.records.message(noted.content, finished.status, shown.error)
    if call.runtime.may_leave_events(call.asked):
        out.leave_behind(message)
    return ToolAnswer(shown, noted, message)


async def find(call: ToolCall) -> None:
    """Find the tool, or the team's member, that the model has named."""
    asked, context = call.asked, call.context
    toolset = await toolset_of(call.runtime, asked.execution_id, context)
    call.tool = toolset.get(asked.tool_name)
    call.member = team.member_of(context.members, asked.tool_name)
    if call.member:
        call.spec = team.spec_of(call.member)
    elif call.tool:
        call.spec = call.tool.spec
    else:
        known = ", ".join(str(tool["name"]) for tool in context.tools) or "none"
        raise NotRun(f"There is no tool {asked.tool_name!r}. Tools: {known}.")


async def parse(call: ToolCall) -> None:
    """Read the arguments, and check them against the tool's schema."""
    asked, spec = call.asked, call.spec
    if asked.cut:
        raise NotRun(_CUT[asked.cut].format(tool=asked.tool_name))
    raw = asked.arguments
    if raw is None:  # too long for the activity's input: it is in the model's message
        message = await message_of(call.runtime, asked.execution_id, asked.message_id)
        raw = next(str(c["arguments"]) for c in message["tool_calls"] if c["id"] == asked.tool_execution_id)
    try:
        arguments = parse_arguments(ask_person.answered(spec) if spec.asks and asked.grant is not None else spec, raw)
        call.arguments = expanded(call.tool, arguments)
    except ToolArgumentsError as error:
        raise NotRun(str(error)) from None


async def judge(call: ToolCall) -> None:
    """Ask the policy. A call that needs a person's decision goes on only without a grant, to `ask` for one."""
    call.ruling = await rule(call.runtime, call.asked, call.context, call.spec, call.arguments)
    kind = call.ruling.decision.kind
    if kind == "deny":
        raise NotRun(call.ruling.text, m.TOOL_DENIED)
    if kind == "ask" and call.asked.grant is not None:
        raise NotRun("The approval does not cover these arguments; the call was not run.", m.TOOL_DENIED)


async def ask(call: ToolCall) -> calls.ToolOutcome | None:
    """Return what the workflow has to ask first: a person's decision, or another agent. None: the tool can run."""
    asked, arguments, ruling = call.asked, call.arguments, call.ruling
    assert ruling is not None
    if ruling.decision.kind == "ask":
        return calls.ToolOutcome(approval=approval_request(asked, arguments, ruling))
    if call.member is not None:
        return await _delegate(call, str(call.member["name"]), delegate=None)
    communicates = communication(call.tool)
    if communicates is None:
        return None
    asking = Delegation(call.runtime, asked, call.context, communicates)
    whom = await asking.whom(arguments) if asking.waits else None
    if whom is not None:
        return await _delegate(call, whom["name"], delegate=whom)
    call.tool = asking  # it starts a separate execution, or says why it cannot
    return None


async def _delegate(call: ToolCall, name: str, delegate: dict[str, Any] | None) -> calls.ToolOutcome:
    """Publish the start of the call of another agent, and leave that call to the workflow."""
    redactor = await redactor_for(call.runtime, call.asked.execution_id, call.context)
    publisher = call.runtime.publisher(call.asked, call.context)
    async with publisher as out:
        about = {"delegate": name, "message": f"Asking {name}"}
        out.emit(call.records.started(redactor.value(call.arguments), call.ruling, about))
    return calls.ToolOutcome(delegation=team.task_text(call.arguments), delegate=delegate, **_published(publisher))


async def _surroundings(call: ToolCall) -> tuple[ToolContext, Redactor]:
    """Return what a tool gets besides its arguments, and the redactor for the secrets in it."""
    asked = call.asked
    workspace = workspace_of(call.runtime, asked.execution_id, call.context)
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    variables = await variables_of(call.runtime, asked.execution_id, call.context)
    settings = await settings_of(call.runtime, asked.execution_id, call.context, call.spec)
    secrets = await secrets_for(call.runtime, asked.execution_id, call.context, settings)
    redactor = await redactor_for(call.runtime, asked.execution_id, call.context)
    surroundings = ToolContext(
        asked.execution_id,
        asked.tool_execution_id,
        workspace,
        {**variables, **current.variables()},
        keep_limit=KEEP_LIMIT,
        secrets=secrets,
        long_commands=long_command_place.of(call.runtime, asked, call.announce),
    )
    return surroundings, redactor


async def run(call: ToolCall, surroundings: ToolContext, redactor: Redactor, out: Publisher) -> Finished:
    """Publish the start and run the tool. A call that is cancelled publishes its end, and raises CancelledError."""
    assert call.tool is not None
    asked = call.asked
    step = place(call.runtime.worker_id)
    began, started_at = time.monotonic(), ev.now()
    if asked.wait is None:
        out.emit(call.records.started(redactor.value(call.arguments), call.ruling, step=step))
    else:
        began, started_at = began - asked.wait.waited, asked.wait.began
    watched = replace(surroundings, tell=ToolProgress(asked, out, redactor).tell)
    try:
        status, result = await _outcome(call.tool, call.arguments, watched, call.runtime.longest_call)
    except asyncio.CancelledError:
        details = activity.cancellation_details()
        if details and (details.timed_out or details.not_found):
            # Temporal gave this attempt up while the worker stood still. The workflow tells the end of this call, as
            # "unknown" or by another attempt: a "failed" here would come before it, and hide it.
            raise
        by_person = details and not details.worker_shutdown  # which happens during a drain too
        if by_person or not activity.is_worker_shutdown():
            seconds = time.monotonic() - began
            end = call.records.completed(m.TOOL_FAILED, seconds=seconds, ruling=call.ruling, error="cancelled")
            out.emit(end)
            raise
        # The grace period is over. The outcome has to be told here, for a tool that must not run twice.
        if call.tool.spec.idempotent:
            raise
        text = f"Outcome unknown: the worker stopped while {asked.tool_name} ran, and ended it."
        status, result = m.TOOL_UNKNOWN, ToolResult(text, text)
    return Finished(status, result, started_at, time.monotonic() - began)


async def _outcome(
    tool: Tool, arguments: dict[str, Any], surroundings: ToolContext, longest: float | None
) -> tuple[str, ToolResult]:
    """Run the tool within its time limit. Whatever it raises or returns becomes the result of this call."""
    spec = tool.spec
    patience = spec.timeout + 10 if longest is None else min(longest, spec.timeout + 10)
    try:
        result = results.cleaned(await isolation.run_isolated(lambda: tool.run(arguments, surroundings), patience))
    except TimeoutError:
        text = f"{spec.name} did not end within {min(patience, spec.timeout):g} s and was stopped."
        return m.TOOL_FAILED, ToolResult(text, text)
    except isolation.ToolBroke as error:  # a bug in a tool: the model and the log hear of it, the execution goes on
        activity.logger.error("tool.broke tool=%s error=%s at=%s", spec.name, error, error.where)
        text = f"{spec.name} broke: {error}"
        return m.TOOL_FAILED, ToolResult(text, text)
    return (m.TOOL_FAILED if result.error else m.TOOL_SUCCESS), result


async def redact(result: ToolResult, redactor: Redactor, surroundings: ToolContext) -> Shown:
    """Take the secrets out of a result, and put what is too long for a conversation into files of the workspace."""
    workspace, call_id = surroundings.workspace, surroundings.tool_call_id
    if len(result.output) < IN_THREAD:
        whole = redactor.text(result.output)
    else:  # it can be of megabytes, and the worker's heartbeats must not wait for it
        whole = await asyncio.to_thread(redactor.text, result.output)
    error = redactor.text(result.error) if result.error else None
    output, kept = await results.fitted(whole, surroundings.output_limit, workspace, call_id)
    lines, files = await results.stored(result.files, workspace, call_id)
    output = "\n".join((*([output] if output else ()), *map(redactor.text, lines)))
    metadata = redactor.value(result.metadata) | ({"output_file": kept} if kept else {})
    metadata |= {"files": files} if files else {}
    return Shown(output, error, len(whole), metadata, files)


async def record(call: ToolCall, finished: Finished, answer: ToolAnswer, publisher: Publisher) -> calls.ToolOutcome:
    """Return the outcome for the workflow: the model's message, the turn's entry, new taint, changed lists of tools."""
    asked, runtime, spec = call.asked, call.runtime, call.spec
    shown, message = answer.shown, answer.message
    images = [file for file in shown.files if file["type"] in m.IMAGE_TYPES]
    if images:
        message = {**message, "images": images}
    tainted = taint.tainted_by(call.context.taint, spec, finished.result.taints, finished.result.remote)
    if tainted:
        message = {**message, "tainted": True}
    runtime.memory.transcripts.leave(asked.execution_id, message)
    fresh = await relisted(runtime, asked.execution_id, call.context) if spec.source == "mcp" else {}
    entry = call.records.entry(finished.status, shown.error, finished.started_at, finished.seconds, shown.size)
    left = finished.result.left
    return calls.ToolOutcome(
        message=message,
        record=entry,
        taints=tainted,
        relisted=fresh,
        left={left[0]: calls.CallPlace(runtime.hostname, left[1])} if left else {},
        **answer.noted.outcome,
        **_published(publisher),
    )


async def _record_unrun(call: ToolCall, ended: NotRun) -> calls.ToolOutcome:
    """Return the outcome of a call that was not run, and publish it as a start and an end."""
    asked = call.asked
    redactor = await redactor_for(call.runtime, asked.execution_id, call.context)
    text = redactor.text(str(ended))
    publisher = call.runtime.publisher(asked, call.context)
    async with publisher as out:
        if asked.wait is None:
            out.emit(call.records.started(redactor.value(call.arguments), call.ruling))
        out.emit(call.records.completed(ended.status, seconds=0.0, ruling=call.ruling, error=text))
        noted = _noted(call, text, ended.status, out)
    message = call.records.message(noted.content, ended.status, text)
    call.runtime.memory.transcripts.leave(asked.execution_id, message)
    return calls.ToolOutcome(message=message, **noted.outcome, **_published(publisher))


def _noted(call: ToolCall, content: str, status: str, out: Publisher) -> Noted:
    """Tell the model, and people, when a call fails as the same call did before, too often."""
    asked = call.asked
    failure = same_failures.failure_hash(status, content, asked.tool_execution_id)
    if not failure or failure != asked.failed or not asked.failure_note:
        return Noted(content, failure, told=False)
    data = {"severity": "warning", "kind": "repeated_failure", "message": asked.failure_note.strip("[]")}
    notice = f"notice:{asked.tool_execution_id}:repeated"
    out.emit(ev.event(notice, ev.NOTICE, {**data, "message_id": asked.message_id}))
    return Noted(f"{content}\n{asked.failure_note}", failure, told=True)


def _published(publisher: Publisher) -> dict[str, Any]:
    """Return what the workflow has to know of the events of this call."""
    return {
        "undelivered": publisher.outcome.undelivered,
        "spooled": publisher.outcome.spooled,
        "unconfirmed": publisher.outcome.unconfirmed,
        "events": publisher.sent,
    }
