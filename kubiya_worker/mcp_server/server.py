"""An MCP server, made with the SDK, that offers agents and teams. It holds nothing between two calls.

A client shows a run's requests to its person in one of two ways, by the version of MCP that it speaks: the server asks
within the call, or it returns what it needs and the client calls again with the answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final
from urllib.parse import quote

import mcp.types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from kubiya_worker import __version__, json_schema
from kubiya_worker.mcp_server import catalog, follower, requests
from kubiya_worker.mcp_server.api import AgentsApi, PlaneRefused
from kubiya_worker.mcp_server.catalog import OfferedTool

LOOK: Final = 1.0  # seconds between looks whether somebody else has answered
Context = ServerRequestContext[Any, Any]
ApiOf = Callable[[Context], AgentsApi]
# Show a request to the client's person beside the SDK's session; the event is set when the form is closed.
Show = Callable[[Mapping[str, Any]], AbstractAsyncContextManager[asyncio.Event]]


def _no_show(_: Context) -> Show | None:
    return None


class _InputNeeded(Exception):
    """The client has to be asked by returning from the call."""

    def __init__(self, approval: Mapping[str, Any]) -> None:
        super().__init__()
        self.approval = approval


def build(
    api_of: ApiOf,
    agents: Sequence[str] = (),
    teams: Sequence[str] = (),
    show_of: Callable[[Context], Show | None] = _no_show,
) -> Server[Any]:
    """Return a server for whatever transport. `agents` and `teams` are names of those to offer; all without any.

    `show_of` is for a transport without sessions.
    """

    async def offered(api: AgentsApi) -> dict[str, OfferedTool]:
        everything = not agents and not teams
        replies = [await api.ask("GET", f"/{kind}?limit=1000") for kind in ("agents", "teams")]
        lists = [
            next((v for v in one.values() if isinstance(v, list)), []) if isinstance(one, dict) else one
            for one in replies
        ]
        return catalog.tools(catalog.chosen(lists[0], agents, everything), catalog.chosen(lists[1], teams, everything))

    async def list_tools(context: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        try:
            tools = await offered(api_of(context))
        except PlaneRefused as error:
            raise MCPError(types.INTERNAL_ERROR, str(error)) from None
        return types.ListToolsResult(tools=[_tool(one) for one in tools.values()])

    async def call_tool(
        context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        try:
            return await _called(context, params, api_of(context), offered, show_of(context))
        except PlaneRefused as error:
            return _failed(str(error))

    return Server(
        "kubiya",
        version=__version__,
        title="Kubiya agents and teams",
        instructions=catalog.INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def _called(
    context: Context,
    params: types.CallToolRequestParams,
    api: AgentsApi,
    offered: Callable[[AgentsApi], Any],
    show: Show | None,
) -> types.CallToolResult | types.InputRequiredResult:
    tool = (await offered(api)).get(params.name)
    if tool is None:
        return _failed(f"There is no tool {params.name!r}; list the tools again")
    arguments = params.arguments or {}
    wrong = next(iter(json_schema.problems(arguments, tool.schema, "the arguments")), "")
    if wrong:
        return _failed(f"The arguments do not fit: {wrong}")
    state = _state_of(params.request_state)
    if state is None and params.request_state is not None:
        return _failed("The request_state is not one of this server's")  # a second start would be a second run
    if state is None:
        execution_id = await _begun(api, tool, arguments)
        state = {"execution": execution_id, "asked": []}
    else:
        execution_id = str(state["execution"])
        await _take_answers(api, execution_id, params.input_responses or {})
    if tool.name == catalog.CANCEL:
        return types.CallToolResult(content=[types.TextContent(text=f"The run {execution_id} is being cancelled.")])

    async def tell(number: int, line: str) -> None:
        with contextlib.suppress(MCPError):
            await context.session.report_progress(number, None, line)

    already = {str(one) for one in state["asked"]}

    async def ask(approval: Mapping[str, Any]) -> bool:
        if str(approval["id"]) in already:
            return False
        if show is not None:
            return await _shown(api, approval, show)
        if not context.session.can_send_request:
            raise _InputNeeded(approval)
        return await _elicit(context, api, approval)

    wait = float(arguments.get("wait_seconds", catalog.DEFAULT_WAIT))
    try:
        standing = await follower.follow(api, execution_id, wait, tell, ask if show or _shows_forms(context) else None)
    except _InputNeeded as needed:
        key = str(needed.approval["id"])
        state = {"execution": execution_id, "asked": sorted({*already, key})}
        asked = types.ElicitRequest(
            params=types.ElicitRequestFormParams(
                message=requests.message(needed.approval), requested_schema=requests.form(needed.approval)
            )
        )
        return types.InputRequiredResult(input_requests={key: asked}, request_state=json.dumps(state))
    failed = standing.status in ("failed", "interrupted", "terminated")
    return types.CallToolResult(
        content=[types.TextContent(text=standing.text())], structured_content=standing.structured(), is_error=failed
    )


async def _begun(api: AgentsApi, tool: OfferedTool, arguments: Mapping[str, Any]) -> str:
    """Do what the call is for, apart from waiting; return the execution's id."""
    if tool.kind:
        body = {"prompt": str(arguments["task"]), "stream": True, "execution_metadata": {"source": "mcp"}}
        started = await api.ask("POST", f"/{tool.kind}s/{quote(tool.entity, safe='')}/execute", body)
        return str(started["execution_id"])
    execution_id = str(arguments["execution_id"])
    if tool.name == catalog.SEND:
        await api.ask("POST", follower.path_of(execution_id, "message"), {"message": str(arguments["message"])})
    elif tool.name == catalog.CANCEL:
        await api.ask("POST", follower.path_of(execution_id, "cancel"), {})
    return execution_id


async def _take_answers(api: AgentsApi, execution_id: str, answers: Mapping[str, Any]) -> None:
    """Give the answers that came with a repeated call. The API checks who may answer what."""
    for key, given in answers.items():
        approval = await api.ask("GET", f"/approvals/{quote(str(key), safe='')}")
        ours = str(approval.get("execution_id")) == execution_id and approval.get("status") == "pending"
        if ours and isinstance(given, types.ElicitResult):
            await follower.answer(api, approval, given.action, given.content)


async def _shown(api: AgentsApi, approval: Mapping[str, Any], show: Show) -> bool:
    """Show a request, and wait until its form is closed or somebody else has answered."""
    async with show(approval) as closed:
        while not closed.is_set() and await follower.is_open(api, str(approval["id"])):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await closed.wait()
    return not await follower.is_open(api, str(approval["id"]))


async def _elicit(context: Context, api: AgentsApi, approval: Mapping[str, Any]) -> bool:
    """Ask the client's person within the call; end the question when somebody else has answered meanwhile."""
    asking = asyncio.ensure_future(
        context.session.elicit_form(requests.message(approval), requests.form(approval), context.request_id)
    )
    try:
        while not asking.done():
            await asyncio.wait([asking], timeout=LOOK)
            if not asking.done() and not await follower.is_open(api, str(approval["id"])):
                return False
        answer = asking.result()
    except MCPError:  # the client cannot ask after all: the request stays in the inbox
        return False
    finally:
        asking.cancel()
    return await follower.answer(api, approval, answer.action, answer.content)


def _shows_forms(context: Context) -> bool:
    """Return whether the client has said that it shows forms to its person."""
    capabilities = context.session.client_capabilities
    elicitation = capabilities.elicitation if capabilities is not None else None
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


def _state_of(text: str | None) -> dict[str, Any] | None:
    """Return what the client sent back of an earlier round. It gives no rights: the API checks each request."""
    try:
        state = json.loads(text) if text else None
    except ValueError:
        return None
    usable = (
        isinstance(state, dict) and isinstance(state.get("execution"), str) and isinstance(state.get("asked"), list)
    )
    return state if usable else None


def _tool(one: OfferedTool) -> types.Tool:
    hints = types.ToolAnnotations(
        read_only_hint=one.reads, destructive_hint=not one.reads, idempotent_hint=one.reads, open_world_hint=True
    )
    return types.Tool(name=one.name, description=one.description, input_schema=dict(one.schema), annotations=hints)


def _failed(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)
