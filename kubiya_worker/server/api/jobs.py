"""This module serves jobs: a prompt that a schedule, a webhook or a person starts (docs/protocol.md#a9)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from starlette.routing import Route

from kubiya_worker.protocol import names
from kubiya_worker.server import cron, template
from kubiya_worker.server.api import job_times, run_starts
from kubiya_worker.server.api.agents import AGENT, TEAM, entity_of, store_of
from kubiya_worker.server.api.environments import environment_of
from kubiya_worker.server.api.queues import hidden, queue_of, queues_of
from kubiya_worker.server.call import MAX_PROMPT, Call, page
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges import filters
from kubiya_worker.server.edges import jobs as edges
from kubiya_worker.server.inputs import read
from kubiya_worker.server.refusals import ApiError, invalid, no_queue, not_found
from kubiya_worker.server.store import definitions
from kubiya_worker.server.store.database import now
from kubiya_worker.server.store.jobs import no_runs
from kubiya_worker.server.store.records import Object
from kubiya_worker.server.store.schedules import Wanted

CRON: Final = "cron"
WEBHOOK: Final = "webhook"
MANUAL: Final = "manual"
MODES: Final = {"predefined_agent": AGENT, "predefined_team": TEAM}
ELSEWHERE: Final = ("on_the_fly", "predefined_workflow")  # these modes need the hosted product's planner and workflows
RUN: Final = ("id", "status", "entity_id", "entity_name", "execution_type", "trigger_type", "error_message")
TIMES: Final = ("created_at", "started_at", "completed_at")


def job_of(call: Call) -> Object:
    """Return a job by id or name, or answer 404."""
    job = call.plane.stores.jobs.find(call.organization_id, call.path("job"))
    if job is None or not _reached(call, job):
        raise not_found("Job", call.path("job"))
    return job


def _reached(call: Call, job: Object) -> bool:
    """Return whether the caller's key reaches a job: its agent or team, and the queue that it is bound to."""
    scope, name = call.person.scope, job["worker_queue_name"] if job["executor_type"] == "specific_queue" else None
    queue = call.plane.stores.queues.find(call.organization_id, name) if name else None
    queue_id = queue["id"] if queue else job.get("queue_id")
    return scope.has_agent(job["entity_id"]) and (queue_id is None or scope.has_queue(queue_id))


def _fields(call: Call) -> Object:
    if "prompt_template" in call.fields:
        call.prompt("prompt_template")
    return dict(call.fields)


def _checked(call: Call, job: Object) -> Object:
    """Return the job with its entity's id; answer 422 with the wrong field, or 404 for a missing object."""
    kind = _kind(job)
    if not job["entity_id"]:
        raise invalid("entity_id", "Field required", "missing")
    if job["prompt_template"] is None:
        raise invalid("prompt_template", "Field required", "missing")
    job_times.check(job)
    for executor, field in (("specific_queue", "worker_queue_name"), ("environment", "environment_name")):
        if job["executor_type"] == executor and not job[field]:
            article = "an" if executor == "environment" else "a"
            raise invalid(field, f"executor_type {executor} needs {article} {field}", "missing")
    if job["executor_type"] == "specific_queue":
        queue_of(call, job["worker_queue_name"])
    elif job["executor_type"] == "environment":
        environment_of(call, job["environment_name"])
    _check_config(kind, job["config"], "config")
    entity = entity_of(call, kind, job["entity_id"])
    return {**job, "entity_type": kind, "planning_mode": f"predefined_{kind}", "entity_id": entity["id"]}


def _kind(job: Object) -> str:
    """Return agent or team, from entity_type or planning_mode; answer 422 when they disagree."""
    mode, kind = str(job["planning_mode"] or ""), str(job["entity_type"] or "").lower()
    if mode in ELSEWHERE:
        raise invalid("planning_mode", f"{mode} is not to be had here; planning_mode is one of {', '.join(MODES)}")
    if mode and mode not in MODES:
        raise invalid("planning_mode", f"planning_mode is one of {', '.join(MODES)}", "enum")
    kind = kind or MODES.get(mode, "")
    if kind not in (AGENT, TEAM):
        raise invalid("entity_type", "entity_type is agent or team", "enum")
    if mode and MODES[mode] != kind:
        raise invalid("planning_mode", f"{mode} does not go with the entity_type {kind}")
    return kind


def _check_config(kind: str, config: Object, where: str) -> None:
    """Answer 422 for a field that only a team has, in a job of an agent."""
    if kind == AGENT:
        read(edges.AgentJobConfig, config, ("body", where))


def queue_for(call: Call, job: Object) -> Object:
    """Return the job's queue, or else an active one, with a live worker if possible; answer 400 when there is none."""
    if job["executor_type"] == "specific_queue":
        return run_starts.choose_queue(call, job["worker_queue_name"])
    queues = [q for q in queues_of(call) if q["status"] == "active" and not hidden(q)]
    place = ""
    if job["executor_type"] == "environment":
        environment = environment_of(call, job["environment_name"])
        queues = [q for q in queues if q["environment_id"] == environment["id"]]
        place = f" in the environment {environment['name']!r}"
    if not queues:
        raise no_queue(place)
    return next((q for q in queues if call.plane.stores.workers.live(call.organization_id, q["id"])), queues[0])


# -- the schedule and the webhook of a job


def _attach(call: Call, job: Object, secret: str | None = None) -> tuple[Object, str | None]:
    """Bring the job's schedule and webhook to its state; return the job, and the secret where a new one was made."""
    plane, webhook = call.plane, None
    if secret and job["trigger_type"] != WEBHOOK:
        raise invalid("webhook_secret", "webhook_secret goes with the trigger_type webhook")
    if job["trigger_type"] == WEBHOOK:
        webhook = plane.stores.jobs.set_webhook(job, secret)
    else:
        plane.stores.jobs.drop_webhook(job)
    if job["trigger_type"] == CRON:
        wanted, known = _wanted(call, job), plane.scheduler.get(job["id"])
        plane.scheduler.set(job["id"], wanted)
        changes: Object = {"queue_id": wanted.queue_id, "error_message": None}
        if known is None or job_times.key(known) != job_times.key(wanted):
            changes["schedule_since"] = now()
        return plane.stores.jobs.update(job, changes), webhook
    if job.get("queue_id"):
        plane.scheduler.set(job["id"], None)
    return plane.stores.jobs.update(job, {"queue_id": None, "error_message": None}), webhook


def _wanted(call: Call, job: Object) -> Wanted:
    """Return the job's schedule.

    It has no copy of the entity's model, skills and configuration: these are read at each run.
    """
    kind = job["entity_type"]
    entity = store_of(call, kind).find(call.organization_id, job["entity_id"]) or {"configuration": {}}
    members = entity["configuration"].get("member_queues")
    bare = {
        "id": job["entity_id"],
        "configuration": {"member_queues": members} if members else {},
        "execution_environment": {},
    }
    row = {"id": None, "organization_id": call.organization_id, "prompt": job["prompt_template"]}
    argument = run_starts.workflow_input(call, row, kind, bare, request_of_job(job, CRON))
    return Wanted(
        cron=cron.expressions(job["cron_schedule"]),
        timezone=job["cron_timezone"],
        paused=not job["enabled"],
        queue_id=queue_for(call, job)["id"],
        argument={**argument, "initial_message_timestamp": None, "sequel": {}},  # no person says it
        overlap=job.get("overlap_policy", definitions.OVERLAP),
        catch_up=job.get("catch_up_seconds", definitions.CATCH_UP),
    )


def request_of_job(job: Object, trigger: str, override: Object | None = None, about: Object | None = None) -> Object:
    """Return the fields of a request to execute the job; `about` is for the metadata: what triggered it."""
    config = {**job["config"], **(override or {})}
    about_job = {"job_id": job["id"], "job_name": job["name"], "trigger_type": trigger}
    return {
        "system_prompt": job["system_prompt"],
        "model_id": config.pop("model_id", None),
        "configuration": config,
        "execution_environment": job["execution_environment"],
        "execution_metadata": {**(about or {}), **about_job},
        "user_metadata": about_job,
    }


def run(call: Call, job: Object, trigger: str, values: Object, override: Object, about: Object) -> Any:
    """Start the job now; `values` fill the template.

    The same Idempotency-Key, or delivery of a webhook, starts it once.
    """
    if not job["enabled"]:
        raise ApiError(409, f"The job {job['name']!r} is disabled; enable it first")
    broken = _broken(call, job, store_of(call, job["entity_type"]).find(call.organization_id, job["entity_id"]))
    if broken:
        raise ApiError(409, f"The job {job['name']!r} is broken. {broken}")
    key = about.get("delivery") or call.request.headers.get("idempotency-key")
    key = f"job:{job['id']}:{key}" if key else None
    execution = call.plane.stores.executions.by_idempotency_key(call.organization_id, key) if key else None
    if execution is None:
        entity = entity_of(call, job["entity_type"], job["entity_id"])
        prompt, missing = template.fill(job["prompt_template"], values)
        if missing:
            raise invalid("parameters", f"The prompt of the job needs {', '.join(missing)}", "missing")
        if len(prompt.encode()) > MAX_PROMPT:
            raise ApiError(413, f"The prompt comes to more than {MAX_PROMPT:,} bytes")
        request = request_of_job(job, trigger, override, about)
        if trigger == WEBHOOK:
            request["requested_by"] = job.get("owner")
        if trigger == WEBHOOK:
            request["user_metadata"] = {**request["user_metadata"], "tainted": prompt != job["prompt_template"]}
        with call.plane.database.transaction():
            start = run_starts.RunStart(
                kind=job["entity_type"], entity=entity, queue=queue_for(call, job), prompt=prompt, request=request
            )
            execution = run_starts.begin(call, start, key=key)
            call.plane.stores.jobs.add_run(job, execution["id"], trigger)
    return {
        "job_id": job["id"],
        "execution_id": execution["id"],
        "workflow_id": names.workflow_id(execution["execution_type"], execution["id"]),
        "status": "started",
        "page": run_starts.page_of(execution["id"]),
        "message": f"The job was given to the queue {execution['runner_name']!r}",
    }


def _shown(call: Call, job: Object, tally: Object | None, **more: Any) -> Object:
    entity = store_of(call, job["entity_type"]).find(call.organization_id, job["entity_id"])
    hook = call.plane.stores.jobs.webhook(job_id=job["id"])
    path = f"/api/v1/jobs/webhook/{hook.path}" if hook else None
    return {
        **job_times.OF_SCHEDULES,
        **{name: value for name, value in job.items() if name != "schedule_since"},
        "status": "active" if job["enabled"] else "disabled",
        "entity_name": entity["name"] if entity else None,
        "broken": _broken(call, job, entity),
        "webhook_url_path": path,
        "webhook_url": str(call.request.base_url).rstrip("/") + path if path else None,
        "temporal_schedule_id": names.schedule_id(job["id"]) if job["trigger_type"] == CRON else None,
        **(tally or no_runs()),
        **more,
    }


def _broken(call: Call, job: Object, entity: Object | None) -> str | None:
    """Return what the job needs and cannot find any more, as a sentence; None for a job that can run."""
    plane, organization = call.plane, call.organization_id
    if entity is None:
        return f"The {job['entity_type']} that it runs was deleted"
    if job["executor_type"] == "specific_queue" and not plane.stores.queues.find(
        organization, job["worker_queue_name"]
    ):
        return f"Its queue {job['worker_queue_name']!r} was deleted"
    if job["executor_type"] == "environment" and not plane.stores.environments.find(
        organization, job["environment_name"]
    ):
        return f"Its environment {job['environment_name']!r} was deleted"
    queue_id = job.get("queue_id")  # of its schedule
    if queue_id and not plane.stores.queues.find(organization, queue_id):
        return "The queue of its schedule was deleted"
    return None


def _tally(call: Call, job: Object) -> Object | None:
    return call.plane.stores.jobs.tallies(call.organization_id).get(job["id"])


async def create(call: Call) -> Any:
    """Create a job; a webhook's new secret is shown in this answer only."""
    fields = _fields(call)
    name = fields["name"]
    job = {**_checked(call, definitions.new_job(fields)), "owner": call.person.requester()}
    with call.plane.database.transaction():
        job, secret = _attach(
            call, call.plane.stores.jobs.create(call.organization_id, name, job), fields.get("webhook_secret")
        )
    return _shown(call, job, None, **({"webhook_secret": secret} if secret else {}))


async def list_all(call: Call) -> Any:
    """List jobs; `due=true` adds the time of the next run, which is asked of Temporal."""
    tallies, jobs = (
        call.plane.stores.jobs.tallies(call.organization_id),
        call.plane.stores.jobs.list(call.organization_id),
    )
    jobs = page(call, [job for job in jobs if _reached(call, job)])
    shown = [_shown(call, job, tallies.get(job["id"])) for job in jobs]
    if not call.filters(filters.JobFilters).due:
        return shown
    timed = any(job["trigger_type"] == CRON and job["enabled"] for job in jobs)
    due = await call.plane.timetables.next_runs() if timed else {}
    return [
        {**job, "next_execution_at": due.get(job["temporal_schedule_id"]) if job["enabled"] else None} for job in shown
    ]


async def get(call: Call) -> Any:
    """Return a job; one with a schedule with its next runs, and the latest times that started none, with the reason."""
    job = job_of(call)
    return _shown(call, job, _tally(call, job), **await job_times.times_of(call, job))


async def update(call: Call) -> Any:
    job, fields = job_of(call), _fields(call)
    secret = fields.pop("webhook_secret", None)
    if fields.get("trigger_type", CRON) != CRON:
        fields = {**job_times.OF_SCHEDULES, **fields}  # the old values belonged to the old trigger
    if fields.get("entity_type") and not fields.get("planning_mode"):
        fields["planning_mode"] = None  # the old mode belonged to the old type
    elif fields.get("planning_mode") and not fields.get("entity_type"):
        fields["entity_type"] = None
    # Who changes a job asks for what it does from then on.
    changes = {**_checked(call, {**job, **fields}), "owner": call.person.requester()}
    with call.plane.database.transaction():
        job, webhook = _attach(call, call.plane.stores.jobs.update(job, changes), secret)
    return _shown(call, job, _tally(call, job), **({"webhook_secret": webhook} if webhook else {}))


async def delete(call: Call) -> Any:
    """Delete a job; its executions stay, and a run that has begun continues."""
    job, plane = job_of(call), call.plane
    with plane.database.transaction():
        plane.stores.jobs.delete(job)
        if job["trigger_type"] == CRON:
            plane.scheduler.set(job["id"], None)


def _switch(enabled: bool) -> Any:
    async def switch(call: Call) -> Any:
        job, plane = job_of(call), call.plane
        with plane.database.transaction():
            job = plane.stores.jobs.update(job, {"enabled": enabled})
            known = plane.scheduler.get(job["id"])
            if enabled:
                job, _ = _attach(call, job)
            elif known:  # use the stored definition: a job must be stoppable although its queue or team is gone
                plane.scheduler.set(job["id"], replace(known, paused=True))
                job = plane.stores.jobs.update(job, {"schedule_since": now()})
        return _shown(call, job, _tally(call, job))

    return switch


async def trigger(call: Call) -> Any:
    job, fields = job_of(call), call.fields
    override = fields.get("config_override") or {}
    _check_config(job["entity_type"], {**job["config"], **override}, "config_override")
    return run(call, job, MANUAL, fields.get("parameters") or {}, override, {})


async def executions(call: Call) -> Any:
    """List the job's executions, newest first."""
    job = job_of(call)
    wanted = call.filters(filters.JobRunFilters)
    runs = call.plane.stores.jobs.runs(job["id"], wanted.skip or wanted.offset, wanted.limit)
    return [{"execution_id": e["id"], **{k: e.get(k) for k in (*RUN, *TIMES)}} for e in runs]


ROUTES: list[Route] = [
    Edge("POST", "/jobs", create, 201, body=edges.NewJob, audit="job.create"),
    Edge("GET", "/jobs", list_all, query=filters.JobFilters),
    Edge("GET", "/jobs/{job}", get),
    Edge("PATCH", "/jobs/{job}", update, body=edges.JobPatch, audit="job.update"),
    Edge("DELETE", "/jobs/{job}", delete, audit="job.delete"),
    Edge("POST", "/jobs/{job}/trigger", trigger, body=edges.Trigger, audit="job.run"),
    Edge("POST", "/jobs/{job}/enable", _switch(True), audit="job.enable"),
    Edge("POST", "/jobs/{job}/disable", _switch(False), audit="job.disable"),
    Edge("GET", "/jobs/{job}/executions", executions, query=filters.JobRunFilters),
]
