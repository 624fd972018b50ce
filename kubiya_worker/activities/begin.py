"""Begin executions: read what one works with, check it, and publish the first events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from temporalio import activity

from kubiya_worker.activities import forked_files
from kubiya_worker.activities.control_plane_calls import as_fault, ask
from kubiya_worker.activities.definition import UNREADABLE, Definition, context_for, load, one_answer_tells, unreadable
from kubiya_worker.activities.execution_secrets import secrets_for
from kubiya_worker.activities.runtime import Runtime, workspace_of
from kubiya_worker.activities.session_storage import from_session
from kubiya_worker.activities.step_resources import redactor_for, remember_environment, variables_of
from kubiya_worker.activities.workflow_context import remember
from kubiya_worker.control_plane import writes
from kubiya_worker.errors import ConfigurationError, WorkerError
from kubiya_worker.models import structured
from kubiya_worker.protocol import calls, compaction, names, servers, taint, team
from kubiya_worker.protocol import events as ev
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools import mcp, recorded
from kubiya_worker.tools.base import Toolset
from kubiya_worker.tools.confinement import support as confinement
from kubiya_worker.tools.policy import restrictions
from kubiya_worker.tools.toolset import MissingSkill, assemble, prepare, settings_at_start

APPROVAL_POLL: Final = 3.0  # seconds between the first looks, for a control plane that does not signal
ON_UNSUPPORTED_SKILL: Final = "on_unsupported_skill"  # key of an agent's configuration: "skip" (default) or "fail"
BEGIN_PATIENCE: Final = 4.0  # seconds that MCP servers have before a step of its own waits for them
FALLBACKS: Final = "fallback_models"  # key of an agent's llm_config or configuration
MOST_FALLBACKS: Final = 8


@dataclass
class Offered:
    """The tools that MCP servers offer. `starting` ones may follow; the execution needs the `awaited` ones to begin."""

    specs: list[ToolSpec] = field(default_factory=list)
    starting: list[str] = field(default_factory=list)
    awaited: list[str] = field(default_factory=list)


def _set_format(context: calls.Context, definition: Definition) -> None:
    """Require JSON as the final answer where the agent's llm_config, or a team's configuration, asks for it."""
    try:
        context.response_format = structured.requested_format(definition.model_config, definition.config)
    except ValueError as error:
        raise ConfigurationError(str(error), remedy="See docs/models.md, Structured answers") from error
    if context.response_format is not None:
        instruction = structured.instruction(context.response_format)
        context.system_prompt = "\n\n".join(filter(None, (context.system_prompt, instruction)))


class BeginActivities:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    @activity.defn(name=names.BEGIN_EXECUTION)
    async def begin_execution(self, begin: calls.BeginInput) -> calls.BeginResult:
        """Load the execution's context, mark it as running, and publish its first events."""
        runtime, request = self._runtime, ex.ExecutionInput.parse(begin.raw)
        control_plane, execution_id = runtime.control_plane, request.execution_id
        remember(runtime, execution_id)
        read_at, definition = await self._definition(request)
        context = context_for(request, definition)
        context.model_queue = runtime.model_queue
        has_servers = bool(request.mcp_servers or definition.environment.get("mcp_servers"))
        metadata = dict(definition.execution.get("execution_metadata") or {})
        context.metadata = {**metadata, "workflow_started": True, "has_mcp_servers": has_servers}
        context.published = names.published(control_plane.features)
        if names.FEATURE_APPROVAL_SIGNAL not in control_plane.features:
            context.approval_poll_seconds = APPROVAL_POLL
        environment = {"configuration": definition.config, **definition.environment}
        remember_environment(runtime, execution_id, environment)
        failure, notices, offered = None, list[str](), Offered()
        try:
            if definition.failure is not None:
                raise definition.failure
            mcp.merged(
                *(definition.config.get(key) for key in mcp.CONFIGURATION_KEYS)
            )  # refuses what is no map of servers
            mcp.of_environment(environment)
            variables = await variables_of(runtime, execution_id, context)
            _check_budgets(context)
            await self._choose_models(request, definition, context)
            await self._bring_files(request, context, notices)
            offered = await self._gather_tools(execution_id, definition, context, variables, read_at, notices)
        except WorkerError as error:
            failure = error.line()
        except UNREADABLE as error:
            activity.logger.exception("begin.unreadable")
            failure = unreadable(f"The {request.kind} {request.agent_id!r}", error).line()
        if request.member is None:
            await self._show_start(request, begin, context, notices)
        runtime.memory.contexts.put(execution_id, context)
        earlier = _earlier(definition.session, begin.first_message, shared="message_id" in request.sequel.message)
        kept_from = compaction.begins(earlier)
        tainted = taint.inherited(context.taint, earlier[:kept_from])
        return calls.BeginResult(
            context,
            earlier[kept_from:],
            failure,
            stored=kept_from,
            tainted=tainted,
            starting=offered.starting,
            awaited=offered.awaited,
            crowded=runtime.crowded(),
            texts=max((names.assistant_number(message["message_id"]) for message in earlier), default=0),
        )

    async def _definition(self, request: ex.ExecutionInput) -> tuple[float, Definition]:
        """Load the definition, from one answer that the event loop reads itself where that can be.

        Return also when it was read, in monotonic seconds.
        """
        runtime = self._runtime
        if one_answer_tells(request):
            read_at, execution_context = await runtime.early_contexts.take(request.execution_id)
            if execution_context is not None:
                return read_at, load(runtime.control_plane, request, execution_context)
        return time.monotonic(), await ask(load, runtime.control_plane, request)

    async def _choose_models(self, request: ex.ExecutionInput, definition: Definition, context: calls.Context) -> None:
        """Put the models into the context, and what is asked of their answers. Raises WorkerError."""
        models = self._runtime.models
        models.check(context.model_config)
        context.model_id = models.resolve(definition.model_id)
        context.fallback_models = self._fallbacks(definition, context.model_id)
        _set_format(context, definition)
        await self._check_price(request, context)
        await self._set_threshold(context, definition.config.get("compaction"))
        context.model_label = models.select(context.model_id).label

    async def _gather_tools(
        self,
        execution_id: str,
        definition: Definition,
        context: calls.Context,
        variables: Mapping[str, str],
        read_at: float,
        notices: list[str],
    ) -> Offered:
        """Put the tools of members, skills and MCP servers into the context. Return what the servers offer.

        Raises WorkerError.
        """
        runtime = self._runtime
        toolset, missing = await self._assembled(execution_id, context)
        leave_out(missing, definition.config, context, notices)
        if any(spec.category == "command_execution" for spec in toolset.specs) and confinement.notice():
            notices.append(confinement.notice())
        members = [team.spec_of(member) for member in context.members]
        permitted = [spec for spec in (*members, *toolset.specs) if restrictions.permits(context.denials, spec)]
        own = _carried(permitted, notices)
        offered = await self._mcp_tools(execution_id, context, variables, own, notices)
        context.tools = [
            {**spec.wire(), **({"skill": toolset.skills[spec.name]} if toolset.skills.get(spec.name) else {})}
            for spec in (*own, *offered.specs)
            if restrictions.permits(context.denials, spec)
        ]
        authority = runtime.authorities.learn(context, read_at)
        if not offered.specs:  # else the first step adds the tools of its MCP servers
            runtime.memory.toolsets.put(execution_id, ((context.tools_version, authority.version), toolset))
        return offered

    async def _bring_files(self, request: ex.ExecutionInput, context: calls.Context, notices: list[str]) -> None:
        """Let a fork begin with the stored files of its origin. A folder of the host (`cwd`) has files of its own."""
        runtime = self._runtime
        first = request.member is None and not request.sequel.mark and context.metadata.get("fork_of")
        if not first or context.workspace or names.FEATURE_RUN_FILES not in runtime.control_plane.features:
            return
        workspace = workspace_of(runtime, request.execution_id, context)
        stored = runtime.control_plane.run_files
        missing = await forked_files.bring(stored, request.execution_id, workspace, runtime.files.limits)
        notices += [missing] if missing else []

    async def _assembled(self, execution_id: str, context: calls.Context) -> tuple[Toolset, list[MissingSkill]]:
        skills, runtime = context.skills, self._runtime
        secrets = await secrets_for(runtime, execution_id, context, settings_at_start(skills))
        await prepare(skills)
        assembled = assemble(skills, workspace=workspace_of(runtime, execution_id, context), secrets=secrets)
        played = runtime.played_tools()
        return (recorded.replaced(assembled[0], played, context.agent_name), []) if played else assembled

    def _fallbacks(self, definition: Definition, own: str) -> list[str]:
        """Return the ids of the agent's other models, in their order. ConfigurationError for one that cannot be used.

        Where the worker overrides what model is used, there is no other one.
        """
        configured = definition.model_config.get(FALLBACKS) or definition.config.get(FALLBACKS) or []
        configured = [configured] if isinstance(configured, str) else configured
        if not isinstance(configured, list) or not all(
            isinstance(model, str) and model.strip() for model in configured
        ):
            raise ConfigurationError(
                f"{FALLBACKS} is a list of model ids, not {str(configured)[:60]!r}",
                remedy="Change the agent's llm_config",
            )
        models = self._runtime.models
        others = dict.fromkeys(models.resolve(model) for model in configured)
        chosen = [model for model in others if model != own][:MOST_FALLBACKS]
        for model in chosen:
            models.select(model)
        return chosen

    async def _check_price(self, request: ex.ExecutionInput, context: calls.Context) -> None:
        """Refuse a cost limit for a model without a known price, before anything is spent."""
        budgets = ex.Budgets.parse(context.config or request.agent_config)
        needs_price = budgets.max_cost_usd is not None or (request.member is not None and request.member.priced)
        for model in (context.model_id, *context.fallback_models) if needs_price else ():
            if await asyncio.to_thread(self._runtime.models.nanos, model, ex.Usage(1, 1)) is None:
                raise ConfigurationError(
                    f"The model {model!r} has no known price, and budgets.max_cost_usd needs one",
                    remedy="Write it into the table that KUBIYA_MODEL_PRICES names, on the worker",
                )

    async def _set_threshold(self, context: calls.Context, configured: Any) -> None:
        models = self._runtime.models
        offline = models.offline(context.model_id)
        window = None if offline else await asyncio.to_thread(models.window, context.model_id)
        try:
            context.compact_at = compaction.threshold(configured, window)
        except ValueError as error:
            raise ConfigurationError(str(error), remedy="See docs/budgets.md") from error

    async def _mcp_tools(
        self,
        execution_id: str,
        context: calls.Context,
        variables: Mapping[str, str],
        others: list[ToolSpec],
        notices: list[str],
    ) -> Offered:
        """Ask the execution's MCP servers for their tools. One that cannot be used is a notice, not a failure."""
        configured = mcp.parse(mcp.merged(self._runtime.memory.servers.get(execution_id), context.mcp_servers))
        if not configured or self._runtime.played_tools():  # what is recorded of a server needs no server
            return Offered()
        unconfined = confinement.notice() if any(server.command for server in configured) else ""
        if unconfined and unconfined not in notices:
            notices.append(unconfined)
        templated = [server.templated for server in configured]
        secrets = await secrets_for(self._runtime, execution_id, context, templated)
        workspace = workspace_of(self._runtime, execution_id, context)
        names_in_use = [spec.name for spec in others]
        discovery = await mcp.discover(
            configured,
            self._runtime.mcp,
            variables,
            workspace,
            names_in_use,
            owner=execution_id,
            patience=BEGIN_PATIENCE,
            secrets=secrets,
        )
        redactor = await redactor_for(self._runtime, execution_id, context)
        context.system_prompt = servers.with_note(context.system_prompt, redactor.text(discovery.briefing))
        for name, reason in discovery.missing.items():
            notices.append(lack(context, name, redactor.text(reason)))
            activity.logger.warning("mcp.unavailable %s", notices[-1])
        notices += map(redactor.text, discovery.notices)
        slow = {server.name: server for server in configured if server.name in discovery.starting}
        for name, server in slow.items():
            notices.append(f"MCP server {name!r} is starting; it has {server.timeout:g} seconds for it")
        return Offered(discovery.specs, list(slow), [name for name, server in slow.items() if server.required])

    async def _show_start(
        self, request: ex.ExecutionInput, begin: calls.BeginInput, context: calls.Context, notices: list[str]
    ) -> None:
        execution_id = request.execution_id
        metadata = {**context.metadata, "model": context.model_id, "model_label": context.model_label}
        first = _first_events(request, begin.first_message, context, notices)
        begun = [
            writes.execution(
                execution_id,
                status=ex.RUNNING,
                started_at=ev.now(),
                execution_metadata=metadata,
                **request.sequel.mark,
            ),
            writes.events(execution_id, first),
            *writes.agent_status("dynamic" if request.definition else request.kind, request.agent_id, ex.RUNNING),
        ]
        await as_fault(self._runtime.delivery.together(begun, must=True))


def _first_events(
    request: ex.ExecutionInput, first: m.Message, context: calls.Context, notices: list[str]
) -> list[ev.Event]:
    execution_id, number = request.execution_id, request.sequel.number
    begun = f"{execution_id}:{number}" if number else execution_id  # an event's id is stored once
    model = {"model": context.model_id, "model_label": context.model_label}
    lacking = {servers.message_of(entry): entry for entry in context.metadata.get(servers.DEGRADED) or ()}
    run = {"run_id": activity.info().workflow_run_id, "execution_id": execution_id, "cancellable": True}
    return [
        ev.event(
            f"metadata:{begun}",
            ev.METADATA,
            {
                "execution_type": context.kind.upper(),
                "agent_name": context.agent_name,
                **({"members": [member["name"] for member in context.members]} if context.members else {}),
                **({"mode": context.mode} if context.mode else {}),
                **({servers.DEGRADED: list(lacking.values())} if lacking else {}),
                **model,
            },
        ),
        ev.event(f"message:{first['message_id']}", ev.MESSAGE, first),
        ev.event(f"run_started:{begun}", ev.RUN_STARTED, {**run, **model}),
        *(
            servers.notice(f"notice:{begun}:start:{n}", execution_id, text, lacking.get(text))
            for n, text in enumerate(notices)
        ),
    ]


def _earlier(session: list[m.Message], first: m.Message, *, shared: bool) -> list[m.Message]:
    """Return the messages before the first one of this run.

    A run that shares another one's conversation may begin in the middle of a turn, behind its first message: then that
    one keeps its place.
    """
    messages = [from_session(stored) for stored in session]
    place = next((n for n, message in enumerate(messages) if message["message_id"] == first["message_id"]), None)
    if shared and place is not None and any(message["role"] != "user" for message in messages[place:]):
        return messages
    return [message for message in messages if message["message_id"] != first["message_id"]]


def lack(context: calls.Context, name: str, reason: str) -> str:
    """Go on without an MCP server: note it for the model and in the metadata, and return the line for a person."""
    entry = servers.degrade(context.metadata, servers.SERVER, name, reason)
    context.system_prompt = servers.with_note(context.system_prompt, servers.missing_note(name, entry["reason"]))
    return servers.message_of(entry)


def leave_out(
    missing: list[MissingSkill], config: Mapping[str, Any], context: calls.Context, notices: list[str]
) -> None:
    """Go on without the skills that cannot start, and say so to the model, the stream and the log.

    The agent's `on_unsupported_skill` decides: "skip" (the default, as the published worker does) or "fail". Raises
    ConfigurationError for "fail", and for any other word.
    """
    policy = config.get(ON_UNSUPPORTED_SKILL, "skip")
    if policy not in ("skip", "fail"):
        raise ConfigurationError(
            f"`{ON_UNSUPPORTED_SKILL}` is {policy!r} in the configuration of {context.agent_name!r}",
            remedy='Set it to "skip" or "fail"',
        )
    if not missing:
        return
    if policy == "fail":
        raise missing[0].error
    lines = [skill.line() for skill in missing]
    for skill, line in zip(missing, lines, strict=True):
        activity.logger.warning("skill.unavailable %s", line)
        servers.degrade(context.metadata, servers.SKILL, skill.name, line)
    notices += lines
    unavailable = "\n".join(f"- {line}" for line in lines)
    note = "Some skills of this agent are not available in this run. Say so where the task needs one of them:"
    context.system_prompt = "\n\n".join(filter(None, (context.system_prompt, f"{note}\n{unavailable}")))


def _carried(specs: list[ToolSpec], notices: list[str]) -> list[ToolSpec]:
    """Return the tools of members and skills that fit into a model request. The others are named in `notices`."""
    rest = specs[mcp.MOST_TOOLS :]
    if rest:
        names = ", ".join(spec.name for spec in rest[:5])
        notices.append(
            f"{len(rest)} tools of skills and members are left out ({names}{' …' if len(rest) > 5 else ''}): "
            f"a request to a model carries at most {mcp.MOST_TOOLS} tools"
        )
    return specs[: mcp.MOST_TOOLS]


def _check_budgets(context: calls.Context) -> None:
    """Refuse a budget that cannot be parsed, before anything is spent."""
    try:
        ex.Budgets.parse(context.config)
    except ValueError as error:
        context.config = {}
        raise ConfigurationError(
            f"The configuration of {context.agent_name!r} is wrong: {error}", remedy="Correct it; see docs/budgets.md"
        ) from error
