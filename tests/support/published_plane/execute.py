"""Starting runs: agents, teams, dynamic ones, jobs (docs/protocol.md#a7, #a9, #b2, #b3)."""

from __future__ import annotations

import re
import uuid
from typing import Any

from tests.support.published_plane import bodies
from tests.support.published_plane.edge import Call, Entry, Object, Refusal, as_uuid, broken, unknown
from tests.support.published_plane.world import World, now, workflow_id

WORKFLOWS = {"agent": "AgentExecutionWorkflow", "team": "TeamExecutionWorkflow"}


def argument(call: Call, kind: str, entity: Object, prompt: str, given: Object, execution_id: str | None) -> Object:
    """The input as the server makes it: with its own address and the caller's key in it."""
    world = call.world
    config = dict(entity["configuration"])
    folder = (given.get("execution_environment") or {}).get("working_dir")
    base = {
        "execution_id": execution_id,
        f"{kind}_id": entity["id"],
        "organization_id": world.organization,
        "prompt": prompt,
        "system_prompt": given.get("system_prompt") or config.get("system_prompt"),
        "model_id": entity.get("model_id"),
        "model_config": entity.get("llm_config") or {},
        f"{kind}_config": {**config, **({"cwd": folder} if folder else {})},
        "mcp_servers": (entity.get("execution_environment") or {}).get("mcp_servers") or {},
        "user_metadata": {**world.user, **(given.get("user_metadata") or {})},
        "runtime_type": entity.get("runtime") or "default",
        "initial_message_timestamp": now(),
        "graph_api_url": None,
        "dataset_name": None,
    }
    if world.holds("temporal.input"):
        base |= {"control_plane_url": str(call.request.base_url).rstrip("/"), "api_key": call.key}
    return base


def _queue(world: World, key: str) -> Object:
    as_uuid(key)
    if key not in world.queues:
        raise unknown("Worker queue", key)
    queue = world.queues[key]
    if queue["status"] != "active":
        raise Refusal(400, f"Worker queue is {queue['status']}")
    return queue


async def _start(call: Call, kind: str, execution: Object, queue: str, given: Object) -> None:
    key = workflow_id(execution) if call.world.holds("temporal.ids") else f"execution-{execution['id']}"
    try:
        await call.world.start(WORKFLOWS[kind], key, queue, given)
    except RuntimeError as error:
        execution |= {"status": "failed", "error_message": str(error)}
        raise broken(f"Failed to start the workflow: {error}") from error


def _reply(execution: Object) -> Object:
    about = {"execution_id": execution["id"], "workflow_id": workflow_id(execution)}
    return {**about, "status": "PENDING", "message": "Execution queued"}


async def execute(call: Call) -> Any:
    kind = call.request.url.path.split("/")[3].rstrip("s")
    world = call.world
    entity = call.found(world.agents if kind == "agent" else world.teams, "entity", kind.capitalize())
    given = call.given.model_dump()
    queue = _queue(world, given["worker_queue_id"] or next(iter(world.queues)))
    row_type = "agent" if kind == "agent" else "TEAM"
    execution = world.execution(row_type, entity, given["prompt"], given)
    execution["_queue"] = queue["id"]
    await _start(
        call, kind, execution, queue["id"], argument(call, kind, entity, given["prompt"], given, execution["id"])
    )
    return _reply(execution)


async def dynamic(call: Call) -> Any:
    world, given = call.world, call.given.model_dump()
    entity = given["entity"]
    queue = _queue(world, given["worker_queue_id"] or next(iter(world.queues)))
    row = {"id": str(uuid.uuid4()), "name": entity["name"] or "dynamic"}
    execution = world.execution(entity["entity_type"].upper(), row, given["prompt"], {}, _queue=queue["id"])
    config = dict(entity["configuration"])
    if entity["subagents"]:
        members = {f"subagent_{n}": one for n, one in enumerate(entity["subagents"], start=1)}
        config["runtime_config"] = {"agents": members}
    given_input = {
        "execution_id": execution["id"],
        "entity_id": row["id"],
        "entity_type": entity["entity_type"],
        "organization_id": world.organization,
        "prompt": given["prompt"],
        "system_prompt": entity["system_prompt"],
        "model_id": entity["model_id"],
        "model_config": entity["model_params"],
        "agent_config": config,
        "mcp_servers": entity["mcp_servers"],
        "skill_ids": entity["skill_ids"],
        "user_metadata": world.user,
        "runtime_type": entity["runtime"],
        "control_plane_url": str(call.request.base_url).rstrip("/"),
        "api_key": call.key,
        "initial_message_timestamp": now(),
    }
    key = f"dynamic-execution-{execution['id']}"
    await world.start("DynamicAgentExecutionWorkflow", key, queue["id"], given_input)
    about = {"execution_id": execution["id"], "workflow_id": key, "status": "PENDING", "entity_id": row["id"]}
    return {**about, "worker_queue_id": queue["id"], "message": "Execution queued"}


# -- jobs


def _job(call: Call) -> Object:
    key = call.text("job")
    if key not in call.world.jobs:
        raise unknown("Job", key)
    return call.world.jobs[key]


def _task_queue(world: World, job: Object) -> str:
    """A named queue is taken letter by letter: by its name a run waits for ever (docs/protocol.md#a9)."""
    if job["executor_type"] == "specific_queue":
        return str(job["worker_queue_name"])
    live = [q for q in world.queues.values() if world.live(q["id"])]
    if not live:
        raise Refusal(400, "No queue has live workers")
    return str(live[0]["id"])


def _entity(call: Call, job: Object) -> Object:
    rows = call.world.teams if job["entity_type"] == "team" else call.world.agents
    if job["entity_id"] not in rows:
        raise unknown(str(job["entity_type"]).capitalize(), str(job["entity_id"]))
    return rows[job["entity_id"]]


def _input(call: Call, job: Object, prompt: str, execution_id: str | None, trigger: str) -> Object:
    """Jobs name a team's configuration `config`, and leave out the model of a team."""
    kind = job["entity_type"]
    made = argument(call, kind, _entity(call, job), prompt, job, execution_id)
    made["user_metadata"] |= {"job_id": job["id"], "job_name": job["name"], "trigger_type": trigger}
    if kind == "team":
        made["config"] = made.pop("team_config")
        for name in ("model_id", "model_config", "runtime_type"):
            made.pop(name)
    return made


async def create_job(call: Call) -> Any:
    world, given = call.world, call.given.model_dump()
    given["entity_type"] = given["entity_type"] or ("team" if given["planning_mode"].endswith("team") else "agent")
    job = {**world.row(**given), "id": f"job_{uuid.uuid4()}", "status": "active"}
    _entity(call, job)
    world.jobs[job["id"]] = job
    if job["trigger_type"] == "cron":
        execution_id = None if world.holds("temporal.cron-null-id") else str(uuid.uuid4())
        made = _input(call, job, job["prompt_template"], execution_id, "cron")
        await world.schedule(job, _task_queue(world, job), made)
        job["temporal_schedule_id"] = f"job-{job['id']}"
    return job


async def trigger(call: Call) -> Any:
    world, job = call.world, _job(call)
    values = call.given.parameters
    prompt = re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda m: str(values.get(m[1], m[0])), job["prompt_template"])
    kind = job["entity_type"]
    metadata = {"job_id": job["id"], "trigger_type": "manual"}
    row_type = "agent" if kind == "agent" else "TEAM"
    execution = world.execution(row_type, _entity(call, job), prompt, {"execution_metadata": metadata})
    world.job_runs.append({"job_id": job["id"], "execution_id": execution["id"], "status": "pending"})
    queue = _task_queue(world, job)
    execution["_queue"] = queue
    await _start(call, kind, execution, queue, _input(call, job, prompt, execution["id"], "manual"))
    told = {"job_id": job["id"], "execution_id": execution["id"], "workflow_id": workflow_id(execution)}
    return {**told, "status": "started", "message": "Job started"}


async def jobs(call: Call) -> Any:
    return list(call.world.jobs.values())


async def job(call: Call) -> Any:
    return _job(call)


async def delete_job(call: Call) -> Any:
    found = call.world.jobs.pop(_job(call)["id"])
    if found["trigger_type"] == "cron":
        client = await call.world.temporal()
        await client.get_schedule_handle(f"job-{found['id']}").delete()


async def runs(call: Call) -> Any:
    return [r for r in call.world.job_runs if r["job_id"] == _job(call)["id"]]


ENTRIES = (
    Entry("POST", "/agents/{entity}/execute", execute, 200, bodies.Execute),
    Entry("POST", "/teams/{entity}/execute", execute, 200, bodies.Execute),
    Entry("POST", "/dynamic-executions/execute", dynamic, 200, bodies.Dynamic),
    Entry("POST", "/jobs", create_job, 201, bodies.Job),
    Entry("GET", "/jobs", jobs),
    Entry("GET", "/jobs/{job}", job),
    Entry("DELETE", "/jobs/{job}", delete_job, 204),
    Entry("POST", "/jobs/{job}/trigger", trigger, 200, bodies.Trigger),
    Entry("GET", "/jobs/{job}/executions", runs),
)
