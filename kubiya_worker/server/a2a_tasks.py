"""Executions as tasks of A2A (Agent2Agent), for the dispatcher of its SDK; nothing is kept between two requests.

A task is an execution, with its id. Each method asks this server's own routes with the caller's key, so access, limits
and audit are those of the API.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final
from urllib.parse import quote

from a2a.helpers.proto_helpers import get_message_text, new_text_artifact, new_text_message
from a2a.types import a2a_pb2 as pb
from a2a.utils import errors

from kubiya_worker import __version__
from kubiya_worker.mcp_server import follower, requests
from kubiya_worker.mcp_server.api import AgentsApi, PlaneRefused
from kubiya_worker.protocol import execution as ex

LONGEST: Final = 600.0  # seconds that a message waits for the answer; after them the task is returned as it is
STATES: Final[Mapping[str, str]] = {
    "pending": "TASK_STATE_SUBMITTED",
    "queued": "TASK_STATE_SUBMITTED",
    ex.WAITING: "TASK_STATE_INPUT_REQUIRED",
    ex.COMPLETED: "TASK_STATE_COMPLETED",
    ex.CANCELLED: "TASK_STATE_CANCELED",
    ex.FAILED: "TASK_STATE_FAILED",
    "interrupted": "TASK_STATE_FAILED",
    "terminated": "TASK_STATE_FAILED",
}
INBOX: Final = "A person decides this, in the inbox at {link}. Then ask for the task again."


def card(kind: str, entity: Mapping[str, Any], url: str) -> pb.AgentCard:
    """Return the card of an agent or a team, whose address is `url`."""
    name, about = str(entity["name"]), str(entity.get("description") or f"The {kind} {entity['name']}")
    bearer = pb.SecurityScheme(http_auth_security_scheme=pb.HTTPAuthSecurityScheme(scheme="bearer"))
    needed = pb.SecurityRequirement(schemes={"key": pb.StringList()})
    return pb.AgentCard(
        name=name,
        description=about,
        version=__version__,
        supported_interfaces=[
            pb.AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version=version)
            for version in ("1.0", "0.3")
        ],
        capabilities=pb.AgentCapabilities(streaming=True, push_notifications=False),
        security_schemes={"key": bearer},
        security_requirements=[needed],
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[pb.AgentSkill(id=f"{kind}-{name}", name=name, description=about, tags=[kind])],
    )


class ExecutionTasks:
    """The methods of A2A for one agent or team, as the SDK's dispatcher calls them."""

    def __init__(self, kind: str, entity: str) -> None:
        self._kind, self._entity = kind, entity

    async def on_message_send(self, params: Any, context: Any) -> pb.Task:
        api = _api_of(context)
        execution_id = await self._give(api, params.message)
        wait = 0.0 if params.configuration.return_immediately else LONGEST
        return _task(await follower.follow(api, execution_id, wait, _ignore, None))

    async def on_message_send_stream(self, params: Any, context: Any) -> AsyncGenerator[Any, None]:
        api = _api_of(context)
        execution_id = await self._give(api, params.message)
        async for event in _events(api, execution_id):
            yield event

    async def on_subscribe_to_task(self, params: Any, context: Any) -> AsyncGenerator[Any, None]:
        api = _api_of(context)
        await self._own(api, params.id)
        async for event in _events(api, params.id):
            yield event

    async def on_get_task(self, params: Any, context: Any) -> pb.Task:
        api = _api_of(context)
        await self._own(api, params.id)
        return _task(await follower.follow(api, params.id, 0, _ignore, None))

    async def on_cancel_task(self, params: Any, context: Any) -> pb.Task:
        api = _api_of(context)
        row = await self._own(api, params.id)
        if ex.is_final(str(row["status"]).lower()):
            raise errors.TaskNotCancelableError
        await _asked(api, "POST", follower.path_of(params.id, "cancel"), {})
        return _task(await follower.follow(api, params.id, 0, _ignore, None))

    async def on_list_tasks(self, params: Any, context: Any) -> Any:
        raise errors.UnsupportedOperationError(message="GET /api/v1/executions lists executions")

    async def on_create_task_push_notification_config(self, params: Any, context: Any) -> Any:
        raise errors.PushNotificationNotSupportedError

    on_get_task_push_notification_config = on_create_task_push_notification_config
    on_list_task_push_notification_configs = on_create_task_push_notification_config
    on_delete_task_push_notification_config = on_create_task_push_notification_config

    async def on_get_extended_agent_card(self, params: Any, context: Any) -> Any:
        raise errors.ExtendedAgentCardNotConfiguredError

    async def _own(self, api: AgentsApi, execution_id: str) -> Mapping[str, Any]:
        """Return the row of a task of this agent or team."""
        try:
            row: Mapping[str, Any] = await api.ask("GET", follower.path_of(execution_id))
        except PlaneRefused:
            raise errors.TaskNotFoundError from None
        if row.get("entity_id") != self._entity:
            raise errors.TaskNotFoundError
        return row

    async def _give(self, api: AgentsApi, message: Any) -> str:
        """Start a task with a message, or give it to the task that it names; return the execution's id."""
        text = get_message_text(message).strip()
        if not text:
            raise errors.ContentTypeNotSupportedError(message="A message needs a part with text")
        if not message.task_id:
            body = {"prompt": text, "stream": True, "execution_metadata": {"source": "a2a"}}
            path = f"/{self._kind}s/{quote(self._entity, safe='')}/execute"
            return str((await _asked(api, "POST", path, body))["execution_id"])
        await self._own(api, message.task_id)
        standing = await follower.follow(api, message.task_id, 0, _ignore, None)
        if not standing.waiting:
            await _asked(api, "POST", follower.path_of(message.task_id, "message"), {"message": text})
            return str(message.task_id)
        asked = standing.waiting[0]
        if not requests.is_question(asked):  # a program must not decide what a person has to
            raise errors.InvalidParamsError(message=INBOX.format(link=standing.link))
        await _asked(api, "POST", f"/approvals/{quote(str(asked['id']), safe='')}/approve", {"answer": text})
        return str(message.task_id)


async def _events(api: AgentsApi, execution_id: str) -> AsyncGenerator[Any, None]:
    """Yield the task, then what it does, and at last its answer and where it stands."""
    yield _task(await follower.follow(api, execution_id, 0, _ignore, None))
    lines: asyncio.Queue[str] = asyncio.Queue()

    async def tell(number: int, line: str) -> None:
        lines.put_nowait(line)

    following = asyncio.create_task(follower.follow(api, execution_id, LONGEST, tell, None))
    try:
        while not (following.done() and lines.empty()):
            line = asyncio.create_task(lines.get())
            await asyncio.wait({following, line}, return_when=asyncio.FIRST_COMPLETED)
            if line.done():
                yield _update(execution_id, _status("TASK_STATE_WORKING", execution_id, line.result()))
            else:
                line.cancel()
        standing = following.result()
    except PlaneRefused as error:
        raise errors.InternalError(message=str(error)) from None
    finally:
        following.cancel()
    for artifact in _artifacts(standing):
        yield pb.TaskArtifactUpdateEvent(
            task_id=execution_id, context_id=execution_id, artifact=artifact, last_chunk=True
        )
    yield _update(execution_id, _task(standing).status)


def _task(standing: follower.Standing) -> pb.Task:
    """Return an execution as a task."""
    state = "TASK_STATE_INPUT_REQUIRED" if standing.waiting else STATES.get(standing.status, "TASK_STATE_WORKING")
    text = standing.error
    if standing.waiting:
        text = "\n\n".join(map(requests.message, standing.waiting))
        if not all(map(requests.is_question, standing.waiting)):
            text += f"\n\n{INBOX.format(link=standing.link)}"
    return pb.Task(
        id=standing.execution_id,
        context_id=standing.execution_id,
        status=_status(state, standing.execution_id, text),
        artifacts=_artifacts(standing),
    )


def _artifacts(standing: follower.Standing) -> list[Any]:
    return [new_text_artifact("answer", standing.answer, artifact_id="answer")] if standing.answer else []


def _status(state: str, execution_id: str, text: str) -> Any:
    status = pb.TaskStatus(state=state)
    if text:
        role = pb.Role.Value("ROLE_AGENT")
        status.message.CopyFrom(new_text_message(text, context_id=execution_id, task_id=execution_id, role=role))
    status.timestamp.GetCurrentTime()
    return status


def _update(execution_id: str, status: Any) -> Any:
    return pb.TaskStatusUpdateEvent(task_id=execution_id, context_id=execution_id, status=status)


def _api_of(context: Any) -> AgentsApi:
    api: AgentsApi = context.state["api"]
    return api


async def _asked(api: AgentsApi, method: str, path: str, body: Mapping[str, Any]) -> Any:
    try:
        return await api.ask(method, path, body)
    except PlaneRefused as error:
        raise errors.InvalidParamsError(message=str(error)) from None


async def _ignore(number: int, line: str) -> None:
    """Tell nobody."""
