"""This module starts executions of agents and teams (docs/protocol.md#a7, #b3)."""

from __future__ import annotations

import uuid
from typing import Any, Final

from sqlalchemy.exc import IntegrityError
from starlette.routing import Route

from kubiya_worker.protocol.events import now
from kubiya_worker.server.api import shared_parts, stop
from kubiya_worker.server.api.agents import AGENT, TEAM, entity_of, store_of
from kubiya_worker.server.api.executions import execution_of
from kubiya_worker.server.api.queues import queue_of, queues_of
from kubiya_worker.server.api.run_starts import (
    RunStart,
    asked_again,
    author_of,
    begin,
    choose_queue,
    kept_metadata,
    new_execution,
    own_of,
    reply,
    without_servers,
)
from kubiya_worker.server.call import Call
from kubiya_worker.server.definition_users import naming_part, shown_users
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import executions as edges
from kubiya_worker.server.edges import worker
from kubiya_worker.server.refusals import ApiError, invalid, not_found
from kubiya_worker.server.shared_parts import SKILL
from kubiya_worker.server.store import outbox
from kubiya_worker.server.store.records import Object
from kubiya_worker.tracing.ids import TRACEPARENT, caller_of

DYNAMIC: Final = "dynamic"


def traced(request: Object, header: str | None) -> Object:
    """Return a request with the span of its caller in its metadata, where workers read it (docs/observability.md)."""
    metadata = request.get("execution_metadata") or {}
    if caller_of(header) is None or TRACEPARENT in metadata:
        return request
    return {**request, "execution_metadata": {**metadata, TRACEPARENT: header}}


def _execute(kind: str) -> Route:
    async def execute(call: Call) -> Any:
        entity, plane = entity_of(call, kind), call.plane
        prompt, request = call.prompt(), traced(call.fields, call.request.headers.get(TRACEPARENT))
        key = call.request.headers.get("idempotency-key")
        earlier = plane.stores.executions.by_idempotency_key(call.organization_id, key) if key else None
        if earlier is not None:
            return reply(earlier)
        queue = choose_queue(call, request.get("worker_queue_id"))
        return reply(
            begin(call, RunStart(kind=kind, entity=entity, queue=queue, prompt=prompt, request=request), key=key)
        )

    return Edge("POST", f"/{kind}s/{{entity}}/execute", execute, body=edges.Execute, audit="execution.start")


async def retry(call: Call) -> Any:
    """Start what an execution was asked for once more, as a new execution with the definitions of now.

    What made the first one stricter counts again, such as a prompt with text from a webhook.
    """
    earlier, plane = execution_of(call), call.plane
    kind, request = earlier["execution_type"], earlier.get("request")
    if kind not in (AGENT, TEAM):
        raise ApiError(409, f"An execution of the kind {kind} cannot be repeated: what ran is stored nowhere")
    if request is None:
        raise ApiError(409, "This execution was not started with all of its settings here, so it cannot be repeated")
    key = call.request.headers.get("idempotency-key")
    known = plane.stores.executions.by_idempotency_key(call.organization_id, key) if key else None
    if known is not None:
        return reply(known)
    entity, queue = (
        entity_of(call, kind, earlier["entity_id"]),
        choose_queue(call, call.fields.get("worker_queue_id") or earlier["queue_id"]),
    )
    metadata = {**kept_metadata(earlier), "source": "retry", "retry_of": earlier["id"]}
    again = {**asked_again(plane, earlier), "execution_metadata": metadata}
    return reply(
        begin(call, RunStart(kind=kind, entity=entity, queue=queue, prompt=earlier["prompt"], request=again), key=key)
    )


async def create(call: Call) -> Any:
    """Create the row of a scheduled run, whose workflow runs already and chose the id; the same id is created once."""
    fields = call.fields
    execution_id, kind = fields["execution_id"], fields["entity_type"]
    answer = {"execution_id": execution_id, "status": "created"}
    if call.plane.stores.executions.owner(execution_id) == call.organization_id:
        return answer
    stop.check(call)
    job = call.plane.stores.jobs.find(call.organization_id, fields["job_id"]) if fields.get("job_id") else None
    if fields.get("job_id") and job is None:
        raise not_found("Job", fields["job_id"])
    if not fields.get("entity_id"):
        raise invalid("entity_id", "Field required", "missing")
    if job is not None and store_of(call, kind).find(call.organization_id, fields["entity_id"]) is None:
        text = f"Its run at {now()} did not start: the {kind} that it runs was deleted"
        call.plane.stores.jobs.update(job, {"error_message": text})
    entity = entity_of(call, kind, fields["entity_id"])
    queues = queues_of(call)
    asked = fields.get("worker_queue_id")
    queue = queue_of(call, asked) if asked else queues[0] if queues else choose_queue(call, None)
    about = {key: fields[key] for key in ("job_id", "trigger_type") if key in fields}
    metadata = {**(fields.get("trigger_metadata") or {}), **about}
    asked_with = {**_of_job(job), "execution_metadata": metadata, "requested_by": (job or {}).get("owner")}
    start = RunStart(kind=kind, entity=entity, queue=queue, prompt=call.prompt(), request=asked_with)
    row = new_execution(call, start)
    if job is None:
        del row["request"]  # only the workflow knows with what it began
    try:
        with call.plane.database.transaction():
            call.plane.stores.executions.create(
                {**row, "id": execution_id}, own=own_of({**(job or {}), "configuration": (job or {}).get("config")})
            )
            if job is not None:
                call.plane.stores.jobs.add_run(job, execution_id, fields.get("trigger_type") or "cron")
    except IntegrityError as error:
        raise ApiError(409, f"The execution {execution_id!r} exists already") from error
    return answer


def _of_job(job: Object | None) -> Object:
    """Return what a job's runs are asked with."""
    if job is None:
        return {}
    config = {**job["config"]}
    return {
        "system_prompt": job["system_prompt"],
        "model_id": config.pop("model_id", None),
        "configuration": config,
        "execution_environment": job["execution_environment"],
    }


async def job_status(call: Call) -> Any:
    """Store on a job how its scheduled run ended; the execution has its own status.

    The answer says `updated`, or `not_found` for a run that is not the job's.
    """
    fields, pair = call.fields, {"job_id": call.path("job"), "execution_id": call.path("execution")}
    reached = call.reaches(pair["execution_id"])
    execution = call.plane.stores.executions.get(call.organization_id, pair["execution_id"]) if reached else None
    if execution is None or not call.plane.stores.jobs.has_run(pair["job_id"], execution["id"]):
        return {**pair, "status": "not_found"}
    outcome = {"job_id": pair["job_id"], **fields}
    metadata = execution.get("execution_metadata") or {}
    call.plane.runs.change(execution, {"execution_metadata": {**metadata, "job": outcome}})
    return {**pair, "status": "updated"}


async def execute_dynamic(call: Call) -> Any:
    """Start an agent or a team that exists only in this request (docs/protocol.md#a9)."""
    plane, prompt, fields = call.plane, call.prompt(), call.fields
    about = fields["entity"]
    kind = str(about.get("entity_type") or AGENT).lower()
    if kind not in (AGENT, TEAM):
        raise invalid("entity_type", "entity_type is agent or team", "enum")
    subagents = about.get("subagents") or []
    queue = choose_queue(call, fields.get("worker_queue_id"))
    stop.check(call)
    entity_id = str(uuid.uuid4())
    name = about.get("name") or "dynamic"
    entity = {"id": entity_id, "name": name}
    start = RunStart(kind=DYNAMIC, entity=entity, queue=queue, prompt=prompt, request=fields)
    row = new_execution(call, start)
    config = dict(about.get("configuration") or {})
    if subagents:
        agents = {f"subagent_{number}": one for number, one in enumerate(subagents, start=1)}
        config["runtime_config"] = {**(config.get("runtime_config") or {}), "agents": agents}
    argument = {
        "execution_id": row["id"],
        "entity_id": entity_id,
        "entity_name": name,
        "entity_type": kind,
        "organization_id": call.organization_id,
        "prompt": prompt,
        "system_prompt": about.get("system_prompt"),
        "model_id": about.get("model_id"),
        "model_config": about.get("model_params") or {},
        "agent_config": without_servers(config),
        "mcp_servers": {},
        "skill_ids": about.get("skill_ids") or [],
        "user_metadata": fields.get("user_metadata") or {},
        "runtime_type": about.get("runtime") or "default",
        "initial_message_timestamp": now(),
        "sequel": {"message": author_of(call)},
    }
    with plane.database.transaction():
        own = own_of({**about, "execution_environment": fields.get("execution_environment")})
        members = {key: config[key] for key in ("member_ids", "leader_id") if config.get(key)}
        own["configuration"] = {**own["configuration"], **members}  # say whose secrets the run may use
        row = plane.stores.executions.create(row, own=own)
        plane.runs.tell(row, outbox.START, argument)
    return {**reply(row), "entity_id": entity_id, "worker_queue_id": queue["id"]}


async def skill(call: Call) -> Any:
    """Return one skill: of an agent or a team by its id, or one that several name by its id or name."""
    shared = call.plane.stores.skills.find(call.organization_id, call.path("skill"))
    if shared is not None and not call.person.scope.limited:
        users = naming_part(call.plane.stores, call.organization_id, SKILL, shared["name"])
        return {**shared, "used_by": shown_users(users)}
    for store in (call.plane.stores.agents, call.plane.stores.teams):
        for entity in store.list(call.organization_id):
            if not call.person.scope.has_agent(entity["id"]):
                continue
            skills = shared_parts.whole(call, entity)["skills"]
            match = next((s for s in skills if s["id"] == call.path("skill")), None)
            if match is not None:
                return match
    raise not_found("Skill", call.path("skill"))


ROUTES: list[Route] = [
    _execute(AGENT),
    _execute(TEAM),
    Edge("POST", "/executions/{execution}/retry", retry, body=edges.Retry, audit="execution.start"),
    Edge("POST", "/executions/create", create, 201, body=worker.JobExecution, audit="execution.start"),
    Edge("POST", "/executions/job-executions", create, 201, body=worker.JobExecution, audit="execution.start"),
    Edge("POST", "/dynamic-executions/execute", execute_dynamic, body=edges.ExecuteDynamic, audit="execution.start"),
    Edge("GET", "/skills/{skill}", skill),
    Edge("POST", "/executions/{execution}/job/{job}/status", job_status, 202, body=worker.JobStatus),
]
