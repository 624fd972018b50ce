"""This module makes a run: its row, its workflow's input, and the action that starts it (docs/protocol.md#a5, #b3)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.protocol import names
from kubiya_worker.protocol.events import now
from kubiya_worker.server.api import stop
from kubiya_worker.server.api.agents import TEAM
from kubiya_worker.server.api.queues import hidden, queue_of, queues_of
from kubiya_worker.server.call import Call
from kubiya_worker.server.person import LOCAL
from kubiya_worker.server.plane import Plane
from kubiya_worker.server.refusals import ApiError, no_queue
from kubiya_worker.server.shared_parts import SERVERS
from kubiya_worker.server.store import outbox
from kubiya_worker.server.store.executions import Execution
from kubiya_worker.server.store.records import Object

RESTING: Final = ("inactive", "archived")  # the statuses of a team that starts nothing
USER: Final = ("user_id", "user_name", "user_email", "user_avatar")


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """A start names what runs on which queue with which prompt; `request` is the body of the request that asks for it.

    `kind` is agent, team or dynamic. `urgency` is Temporal's priority, before that of the request.
    """

    kind: str
    entity: Object
    queue: Object
    prompt: str
    request: Object
    urgency: int | None = None

    @property
    def priority(self) -> int | None:
        """Return Temporal's priority; None for the usual one."""
        return self.urgency or self.request.get("priority")


def begin(
    call: Call, start: RunStart, *, key: str | None = None, row: Object | None = None, sequel: Object | None = None
) -> Execution:
    """Store the row and its start in one transaction, so that Temporal gets it even if it is away now.

    `key` is the idempotency key. `row` has more fields of the row, such as an id that is known before. `sequel` says
    where a conversation goes on that was led before.
    """
    stop.check(call)
    if start.kind == TEAM and start.entity.get("status") in RESTING:
        raise ApiError(400, f"The team {start.entity['name']!r} is {start.entity['status']}, not active")
    execution = {**new_execution(call, start), **(row or {})}
    with call.plane.database.transaction():
        stores = call.plane.stores
        execution = stores.executions.create(execution, own=own_of(start.request), idempotency_key=key)
        argument = workflow_input(call, execution, start.kind, start.entity, start.request)
        if sequel:
            argument["sequel"] = sequel
        if start.priority:
            argument[outbox.PRIORITY] = start.priority
        call.plane.runs.tell(execution, outbox.START, argument)
    return execution


def choose_queue(call: Call, key: str | None) -> Object:
    """Return the requested queue, or else an active one with a live worker."""
    plane, organization = call.plane, call.organization_id
    if key:
        queue = queue_of(call, key)
        if queue["status"] != "active":
            raise ApiError(400, f"The queue {queue['name']!r} is {queue['status']}, not active")
        return queue
    active = [q for q in queues_of(call) if q["status"] == "active" and not hidden(q)]
    for queue in active:
        if plane.stores.workers.live(organization, queue["id"]):
            return queue
    if not active:
        raise no_queue()
    command = f"kubiya worker start --queue-id {active[0]['name']}"
    raise ApiError(400, f"No queue has a live worker. Start one with: {command}")


def new_execution(call: Call, start: RunStart) -> Execution:
    """Return a new execution's row in the form of docs/protocol.md#a5."""
    request, user = start.request, start.request.get("user_metadata") or {}
    return {
        "id": str(uuid.uuid4()),
        "organization_id": call.organization_id,
        "execution_type": start.kind,
        "entity_id": start.entity["id"],
        "entity_name": start.entity["name"],
        "queue_id": start.queue["id"],
        "prompt": start.prompt,
        "system_prompt": request.get("system_prompt"),
        "request": request_of(request),
        "response": None,
        "error_message": None,
        "usage": {},
        "execution_metadata": request.get("execution_metadata") or {},
        "runner_name": start.queue["name"],
        **{key: user.get(key) for key in USER},
        "requested_by": request.get("requested_by") or call.person.requester(),
        "parent_execution_id": request.get("parent_execution_id"),
        "started_at": None,
        "completed_at": None,
        "participants": [],
        "last_message_at": None,
        "last_message_preview": None,
    }


def request_of(request: Object) -> Object:
    """Return what a run was asked with beside prompt and secrets, so that the same can be started again."""
    asked = {
        "model_id": request.get("model_id"),
        "priority": request.get("priority"),
        "configuration": without_servers(request.get("configuration") or {}),
        "working_dir": (request.get("execution_environment") or {}).get("working_dir"),
        "user_metadata": {k: v for k, v in (request.get("user_metadata") or {}).items() if k not in USER},
    }
    return {name: value for name, value in asked.items() if value}


def workflow_input(call: Call, execution: Execution, kind: str, entity: Object, request: Object) -> dict[str, Any]:
    """Return the workflow's input (docs/protocol.md#b3) without secrets, as it is stored in a history.

    Queues of a team's members are given by their ids.
    """
    config = without_servers({**entity["configuration"], **(request.get("configuration") or {})})
    queues = config.get("member_queues")
    if kind == TEAM and isinstance(queues, dict):
        config["member_queues"] = {str(k): queue_of(call, str(v))["id"] for k, v in queues.items()}
    folder = (request.get("execution_environment") or {}).get("working_dir")
    if folder:
        config["cwd"] = folder
    return {
        "execution_id": execution["id"],
        f"{kind}_id": entity["id"],
        "organization_id": execution["organization_id"],
        "prompt": execution["prompt"],
        "system_prompt": request.get("system_prompt") or entity.get("system_prompt"),
        "model_id": request.get("model_id") or entity.get("model_id"),
        "model_config": entity.get("llm_config") or {},
        f"{kind}_config": config,
        "mcp_servers": {},  # a worker asks for them when it needs them; a history holds none of their settings
        "user_metadata": {k: v for k, v in (request.get("user_metadata") or {}).items() if v is not None},
        "runtime_type": entity.get("runtime") or "default",
        "initial_message_timestamp": now(),
        "control_plane_url": None,
        "api_key": None,
        "sequel": {"message": author_of(call)},  # whose the prompt is; more where a conversation goes on
    }


def without_servers(configuration: Object) -> Object:
    """Return a configuration without its MCP servers, for what is stored in a history."""
    return {key: value for key, value in configuration.items() if key not in SERVERS}


def author_of(call: Call) -> Object:
    """Return who says a message, as its fields: the person of the key, nobody for a key without a person."""
    person = call.person
    if person.id == LOCAL.id:
        return {}
    about = {"user_id": person.id, "user_name": person.name, "user_email": person.email}
    return {name: value for name, value in about.items() if value}


def own_of(request: Object) -> dict[str, Any]:
    """Return what only this run's worker may get, as `Executions.own` returns it; it is in no history."""
    environment, configuration = request.get("execution_environment") or {}, request.get("configuration") or {}
    return {
        "env_vars": {str(k): str(v) for k, v in (environment.get("env_vars") or {}).items()},
        "secrets": environment.get("secrets") or [],
        "mcp_servers": request.get("mcp_servers") or {},
        "configuration": {key: configuration[key] for key in SERVERS if configuration.get(key)},
    }


def asked_again(plane: Plane, execution: Execution) -> Object:
    """Return what an execution was asked with, in the form of a request, so that it can be asked for again."""
    own, request = plane.stores.executions.own(execution["id"]), execution["request"]
    return {
        "system_prompt": execution.get("system_prompt"),
        "model_id": request.get("model_id"),
        "priority": request.get("priority"),
        "configuration": {**(request.get("configuration") or {}), **(own.get("configuration") or {})},
        "execution_environment": {
            **{name: own[name] for name in ("env_vars", "secrets") if name in own},
            "working_dir": request.get("working_dir"),
        },
        "mcp_servers": own.get("mcp_servers"),
        "user_metadata": request.get("user_metadata"),
    }


def kept_metadata(execution: Execution) -> Object:
    """Return the metadata that a repetition of an execution has too."""
    metadata = execution.get("execution_metadata") or {}
    return {name: metadata[name] for name in ("interactive", "job_id", "job_name") if name in metadata}


def page_of(execution_id: str) -> str:
    """Return where this server's page shows an execution."""
    return f"/#/executions/{execution_id}"


def reply(execution: Execution) -> dict[str, Any]:
    return {
        "execution_id": execution["id"],
        "workflow_id": names.workflow_id(execution["execution_type"], execution["id"]),
        "status": execution["status"].upper(),
        "page": page_of(execution["id"]),
        "message": f"The execution was given to the queue {execution['runner_name']!r}",
    }
