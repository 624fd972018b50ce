"""Jobs as a client has them: made, changed, triggered by hand and by a real Temporal schedule."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import (
    Client,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
    WorkflowFailureError,
)

from tests.support.demo_scripts import script
from tests.support.schedules import due, schedule, tick
from tests.support.stack import Stack, wait_until

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 300}}
YEARLY: dict[str, Any] = {"trigger_type": "cron", "cron_schedule": "30 6 1 1 *", "cron_timezone": "Asia/Tokyo"}


def job(stack: Stack, status: int = 201, **fields: Any) -> dict[str, Any]:
    body = {"name": f"job-{uuid.uuid4().hex[:8]}", "trigger_type": "manual", "entity_type": "agent", "entity_id": "ops"}
    body |= {"prompt_template": script({"text": "Done."}), "worker_queue_name": "default"}
    made: dict[str, Any] = stack.call("POST", "/jobs", {**body, "executor_type": "specific_queue", **fields}, status)
    return made


def result(stack: Stack, workflow_id: str) -> dict[str, Any]:
    async def wait() -> dict[str, Any]:
        client = await Client.connect(stack.temporal_address)
        return dict(await client.get_workflow_handle(workflow_id).result())

    return asyncio.run(wait())


def outermost(error: WorkflowFailureError) -> BaseException:
    """Return the failure of the run itself, which is the last of the causes."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return cause


def test_a_job_is_triggered_with_parameters(stack: Stack) -> None:
    prompt = script({"text": "Hello {{who.name}}, {{count}} times."})
    made = job(stack, prompt_template=prompt)
    started = stack.call("POST", f"/jobs/{made['name']}/trigger", {"parameters": {"who": {"name": "Ada"}, "count": 2}})
    assert started["job_id"] == made["id"]
    assert started["status"] == "started"
    assert started["workflow_id"] == f"agent-execution-{started['execution_id']}"
    row = stack.wait(started["execution_id"])
    assert (row["status"], row["response"]) == ("completed", "Hello Ada, 2 times.")
    assert row["execution_metadata"]["job_id"] == made["id"]
    assert row["execution_metadata"]["trigger_type"] == "manual"
    runs = stack.call("GET", f"/jobs/{made['id']}/executions")
    assert [(r["execution_id"], r["status"], r["trigger_type"]) for r in runs] == [
        (started["execution_id"], "completed", "manual")
    ]
    shown = stack.call("GET", f"/jobs/{made['id']}")
    assert (shown["total_executions"], shown["successful_executions"], shown["failed_executions"]) == (1, 1, 0)
    refused = stack.call("POST", f"/jobs/{made['id']}/trigger", {"parameters": {"count": 2}}, 422)
    assert "needs who.name" in refused["detail"][0]["msg"]


def test_a_trigger_may_override_the_configuration_of_the_job_which_overrides_the_agents(stack: Stack) -> None:
    agent = stack.agent(f"limited-{uuid.uuid4().hex[:6]}", skills=[SHELL], configuration={"budgets": {"max_steps": 1}})
    run = {"tools": [{"name": "shell", "arguments": {"command": "printenv COLOUR"}}]}
    environment = {"env_vars": {"COLOUR": "teal"}}
    made = job(
        stack,
        entity_id=agent,
        prompt_template=script({"tools": run["tools"]}, {"text": "."}),
        config={"budgets": {"max_steps": 5}},
        execution_environment=environment,
    )
    started = stack.call("POST", f"/jobs/{made['id']}/trigger", {})
    assert stack.wait(started["execution_id"])["status"] == "completed"
    outputs = [e["data"] for e in stack.events(started["execution_id"]) if e["event"] == "tool_completed"]
    assert "teal" in str(outputs)
    override = {"config_override": {"budgets": {"max_steps": 1}}}
    started = stack.call("POST", f"/jobs/{made['id']}/trigger", override)
    assert stack.wait(started["execution_id"])["status"] == "failed"


def test_the_same_idempotency_key_starts_a_job_once(stack: Stack) -> None:
    made, key = job(stack), {"Idempotency-Key": uuid.uuid4().hex}
    url = f"{stack.url}/api/v1/jobs/{made['id']}/trigger"
    first, second = (stack.http.post(url, json={}, headers=key, timeout=30).json() for _ in range(2))
    assert first["execution_id"] == second["execution_id"]
    assert stack.wait(first["execution_id"])["status"] == "completed"
    assert len(stack.call("GET", f"/jobs/{made['id']}/executions")) == 1


def test_a_cron_job_is_a_schedule_of_temporal_and_its_run_has_a_row(stack: Stack) -> None:
    agent = stack.agent(f"nightly-{uuid.uuid4().hex[:6]}")
    made = job(stack, entity_id=agent, **YEARLY)
    wait_until(lambda: due(stack, made["id"]), 60, "the schedule is there")
    found = schedule(stack, made["id"])
    assert found is not None
    assert made["temporal_schedule_id"] == f"job-{made['id']}"
    assert found.schedule.policy.overlap == ScheduleOverlapPolicy.ALLOW_ALL
    assert found.schedule.policy.catchup_window == timedelta(seconds=60)
    # 06:30 in Tokyo is 21:30 of the day before in UTC.
    at = found.info.next_action_times[0]
    assert (at.month, at.day, at.hour, at.minute) == (12, 31, 21, 30)

    def next_run() -> bool:  # not there when Temporal takes long to tell it
        return bool(stack.call("GET", f"/jobs/{made['id']}")["next_execution_at"] == at.isoformat())

    wait_until(next_run, 60, "the control plane says it too")
    told = result(stack, tick(stack, made["id"]))
    assert (told["status"], told["response"]) == ("completed", "Done.")
    row = stack.execution(told["execution_id"])
    assert (row["status"], row["entity_id"]) == ("completed", agent)
    assert row["execution_metadata"]["job"]["status"] == "completed"
    runs = stack.call("GET", f"/jobs/{made['id']}/executions")
    assert [(r["execution_id"], r["trigger_type"]) for r in runs] == [(told["execution_id"], "cron")]


def test_the_list_says_what_is_next_and_how_it_went_last(stack: Stack) -> None:
    timed, off, by_hand = job(stack, **YEARLY), job(stack, enabled=False, **YEARLY), job(stack)
    started = stack.call("POST", f"/jobs/{timed['id']}/trigger", {})["execution_id"]
    assert stack.wait(started)["status"] == "completed"

    found: dict[str, dict[str, Any]] = {}

    def listed() -> bool:  # without times when Temporal takes long to tell them
        found.update({each["id"]: each for each in stack.call("GET", "/jobs?due=true")})
        return bool(found[timed["id"]]["next_execution_at"])

    wait_until(listed, 60, "the next run is in the list")
    assert found[timed["id"]]["next_execution_at"].endswith("-12-31T21:30:00+00:00")
    assert found[timed["id"]]["last_execution_status"] == "completed"
    assert [found[each["id"]]["next_execution_at"] for each in (off, by_hand)] == [None, None]
    assert found[by_hand["id"]]["last_execution_status"] is None


def test_a_schedule_runs_the_agent_as_it_is_then_in_the_environment_of_the_job(stack: Stack) -> None:
    agent = stack.agent(f"changing-{uuid.uuid4().hex[:6]}", skills=[SHELL])
    steps = ({"tools": [{"name": "shell", "arguments": {"command": "printenv COLOUR"}}]}, {"text": "."})
    environment = {"env_vars": {"COLOUR": "teal"}}
    made = job(stack, entity_id=agent, prompt_template=script(*steps), execution_environment=environment, **YEARLY)
    wait_until(lambda: schedule(stack, made["id"]), 60, "the schedule is there")
    told = result(stack, tick(stack, made["id"]))
    assert told["status"] == "completed"
    outputs = [e["data"] for e in stack.events(told["execution_id"]) if e["event"] == "tool_completed"]
    assert "teal" in str(outputs)
    stack.call("PATCH", f"/agents/{agent}", {"configuration": {"budgets": {"max_steps": 1}}})
    with pytest.raises(WorkflowFailureError) as failed:  # a run that failed fails its workflow, and the job's
        result(stack, tick(stack, made["id"]))
    assert "budget of 1 model call" in str(outermost(failed.value))


def test_disable_pauses_and_enable_resumes_and_delete_removes(stack: Stack) -> None:
    made = job(stack, **YEARLY)
    disabled = stack.call("POST", f"/jobs/{made['id']}/disable")
    assert (disabled["enabled"], disabled["status"]) == (False, "disabled")
    wait_until(lambda: paused(stack, made["id"]) is True, 60, "the schedule is paused")
    assert stack.call("GET", f"/jobs/{made['id']}")["next_execution_at"] is None
    refused = stack.call("POST", f"/jobs/{made['id']}/trigger", {}, 409)
    assert "is disabled" in refused["detail"]
    assert stack.call("POST", f"/jobs/{made['id']}/enable")["status"] == "active"
    wait_until(lambda: paused(stack, made["id"]) is False, 60, "the schedule goes on")
    stack.call("DELETE", f"/jobs/{made['id']}", status=204)
    wait_until(lambda: paused(stack, made["id"]) is None, 60, "the schedule is gone")
    stack.call("GET", f"/jobs/{made['id']}", status=404)


def paused(stack: Stack, job_id: str) -> bool | None:
    found = schedule(stack, job_id)
    return found.schedule.state.paused if found else None


def every_two_seconds(stack: Stack, job_id: str) -> None:
    """Let Temporal fire the job's schedule more often than cron can say; its policies stay."""

    def fast(given: ScheduleUpdateInput) -> ScheduleUpdate:
        spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(seconds=2))])
        return ScheduleUpdate(replace(given.description.schedule, spec=spec))

    async def change() -> None:
        client = await Client.connect(stack.temporal_address)
        await client.get_schedule_handle(f"job-{job_id}").update(fast)

    asyncio.run(change())


def started_of(stack: Stack, job_id: str) -> list[str]:
    return [each["execution_id"] for each in stack.call("GET", f"/jobs/{job_id}/executions")]


# Longer than any of these tests waits: one that ends would let the schedule start another.
SLOW = script({"tools": [{"name": "shell", "arguments": {"command": "sleep 280"}}]}, {"text": "."})


def test_a_schedule_that_skips_tells_which_times_it_left_out_and_which_run_was_in_the_way(stack: Stack) -> None:
    agent = stack.agent(f"slow-{uuid.uuid4().hex[:6]}", skills=[SHELL])
    made = job(stack, entity_id=agent, prompt_template=SLOW, overlap_policy="skip", **YEARLY)
    wait_until(lambda: schedule(stack, made["id"]), 60, "the schedule is there")
    every_two_seconds(stack, made["id"])

    def left_out() -> list[dict[str, Any]]:
        shown = stack.call("GET", f"/jobs/{made['id']}")["firings"]
        return [each for each in (shown or {}).get("left_out", ()) if each["execution_id"]]

    wait_until(left_out, 60, "times that were left out")
    (run,) = started_of(stack, made["id"])
    told = left_out()[0]
    assert (told["reason"], told["execution_id"]) == ("overlap", run)
    shown = stack.call("GET", f"/jobs/{made['id']}")
    assert len(shown["next_executions"]) == 5
    assert shown["firings"]["skipped"] >= 1
    stack.call("DELETE", f"/jobs/{made['id']}", status=204)
    stack.call("POST", f"/executions/{run}/cancel")


def test_a_schedule_that_cancels_ends_the_run_before_as_cancelled(stack: Stack) -> None:
    agent = stack.agent(f"slow-{uuid.uuid4().hex[:6]}", skills=[SHELL])
    made = job(stack, entity_id=agent, prompt_template=SLOW, overlap_policy="cancel_other", **YEARLY)
    wait_until(lambda: schedule(stack, made["id"]), 60, "the schedule is there")
    fire(stack, made["id"])
    wait_until(lambda: started_of(stack, made["id"]), 60, "the first run")
    (first,) = started_of(stack, made["id"])
    wait_until(lambda: stack.execution(first)["status"] == "running", 60, "it runs")
    fire(stack, made["id"])
    wait_until(lambda: len(started_of(stack, made["id"])) == 2, 60, "the second run")
    assert stack.wait(first)["status"] == "cancelled"
    (second,) = set(started_of(stack, made["id"])) - {first}
    stack.call("DELETE", f"/jobs/{made['id']}", status=204)
    stack.call("POST", f"/executions/{second}/cancel")


def fire(stack: Stack, job_id: str) -> None:
    """Let the schedule act now, under its own policy."""

    async def trigger() -> None:
        client = await Client.connect(stack.temporal_address)
        await client.get_schedule_handle(f"job-{job_id}").trigger()

    asyncio.run(trigger())


def test_a_change_reaches_the_schedule_and_another_trigger_ends_it(stack: Stack) -> None:
    made = job(stack, **YEARLY)
    stack.call("PATCH", f"/jobs/{made['id']}", {"cron_schedule": "0 12 24 12 *", "cron_timezone": "UTC"})

    def noon() -> bool:
        at = due(stack, made["id"])
        return at is not None and (at.month, at.day, at.hour) == (12, 24, 12)

    wait_until(noon, 60, "the schedule is the new one")
    changed = stack.call("PATCH", f"/jobs/{made['id']}", {"trigger_type": "webhook"})
    assert changed["webhook_secret"]
    assert changed["temporal_schedule_id"] is None
    wait_until(lambda: schedule(stack, made["id"]) is None, 60, "the schedule is gone")


@pytest.mark.slow
def test_schedules_reach_temporal_when_it_is_back_even_if_it_has_forgotten_them(tmp_path: Path) -> None:
    with Stack(tmp_path) as stack:
        assert stack.temporal is not None and stack.server is not None
        kept, gone = job(stack, **YEARLY), job(stack, **YEARLY)
        wait_until(lambda: schedule(stack, gone["id"]), 60, "the schedule is there")
        stack.temporal.kill()
        stack.call("DELETE", f"/jobs/{gone['id']}")
        made = job(stack, **YEARLY)
        stack.server.kill()
        stack.start_temporal()  # without a file: an empty one
        stack.start_server()
        for one in (kept, made):
            wait_until(partial(schedule, stack, one["id"]), 60, "Temporal was told")
        assert schedule(stack, gone["id"]) is None


def test_a_deleted_job_that_still_runs_is_cancelled(stack: Stack) -> None:
    made = job(stack, **YEARLY)
    wait_until(lambda: schedule(stack, made["id"]), 60, "the schedule is there")
    argument = {"execution_id": None, "agent_id": "ops", "organization_id": "local", "prompt": "hello"}
    about = {"job_id": made["id"], "job_name": made["name"], "trigger_type": "cron"}
    stack.call("DELETE", f"/jobs/{made['id']}")
    queue = next(q["id"] for q in stack.call("GET", "/worker-queues") if q["name"] == "default")

    async def run() -> dict[str, Any]:
        client = await Client.connect(stack.temporal_address)
        started = await client.start_workflow(
            "ScheduledJobWrapperWorkflow", {**argument, "user_metadata": about}, id=str(uuid.uuid4()), task_queue=queue
        )
        return dict(await started.result())

    told = asyncio.run(run())
    assert (told["status"], told["reason"], told["job_id"]) == ("cancelled", "job_deleted", made["id"])


def test_a_team_has_jobs_too(stack: Stack) -> None:
    mark = uuid.uuid4().hex[:6]
    member = stack.agent(f"member-{mark}")
    body = {"name": f"team-{mark}", "configuration": {"member_ids": [member], "mode": "sequential"}}
    team = stack.call("POST", "/teams", body)["id"]
    made = job(stack, entity_type="team", entity_id=team, config={"model_id": "demo"}, **YEARLY)
    assert made["planning_mode"] == "predefined_team"
    started = stack.call("POST", f"/jobs/{made['id']}/trigger", {})
    assert started["workflow_id"] == f"team-execution-{started['execution_id']}"
    row = stack.wait(started["execution_id"])
    assert row["status"] == "completed", row["error_message"]
    wait_until(lambda: schedule(stack, made["id"]), 60, "the schedule is there")
    assert result(stack, tick(stack, made["id"]))["status"] == "completed"


def test_a_queue_with_a_scheduled_job_stays(stack: Stack) -> None:
    queue = stack.queue(f"q-{uuid.uuid4().hex[:6]}")
    made = job(stack, worker_queue_name=queue, **YEARLY)
    refused = stack.call("DELETE", f"/worker-queues/{queue}", status=409)["detail"]
    assert made["name"] in refused["message"] and "force=true" in refused["hint"]
    assert refused["needed_by"] == [{"kind": "job", "id": made["id"], "name": made["name"]}]
    stack.call("DELETE", f"/jobs/{made['id']}")
    stack.call("DELETE", f"/worker-queues/{queue}")


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"planning_mode": "on_the_fly"}, 422, "on_the_fly is not to be had here"),
        ({"planning_mode": "predefined_workflow"}, 422, "predefined_workflow is not to be had here"),
        ({"planning_mode": "predefined_team"}, 422, "does not go with the entity_type agent"),
        ({"planning_mode": "by_magic"}, 422, "planning_mode is one of"),
        ({"trigger_type": "hourly"}, 422, "trigger_type is one of cron, webhook, manual"),
        ({"trigger_type": "cron"}, 422, "needs a cron_schedule"),
        ({**YEARLY, "cron_schedule": "61 * * * *"}, 422, "no minute"),
        ({**YEARLY, "cron_timezone": "Mars/Base"}, 422, "no time zone"),
        ({**YEARLY, "prompt_template": "{{who}}"}, 422, "A schedule brings no value for who"),
        ({"entity_id": "nobody"}, 404, "Agent 'nobody' not found"),
        ({"entity_type": "workflow"}, 422, "entity_type is agent or team"),
        ({"executor_type": "cloud"}, 422, "executor_type is one of"),
        ({"worker_queue_name": "nowhere"}, 404, "Worker queue 'nowhere' not found"),
        ({"executor_type": "environment"}, 422, "needs an environment_name"),
        ({"executor_type": "environment", "environment_name": "moon"}, 404, "Environment 'moon' not found"),
        ({"execution_environment": {"integration_ids": ["x"]}}, 422, "not supported yet: integration_ids"),
        ({"config": {"budgets": {"max_steps": "many"}}}, 422, "budgets.max_steps is a whole number above 0"),
        ({"webhook_secret": "s3cret"}, 422, "goes with the trigger_type webhook"),
        ({"prompt_template": " "}, 422, "must not be empty"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(stack: Stack, fields: Any, status: int, says: str) -> None:
    before = len(stack.call("GET", "/jobs"))
    detail = job(stack, status, **fields)["detail"]
    text = detail if isinstance(detail, str) else detail[0]["msg"]
    assert says in text
    assert "\n" not in text
    assert len(stack.call("GET", "/jobs")) == before
