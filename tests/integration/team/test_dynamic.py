"""Executions of agents and teams that exist only in the request, and runs of scheduled jobs."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError

from kubiya_worker.protocol import names
from tests.support.demo_scripts import script, shell
from tests.support.stack import Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}


def dynamic(stack: Stack, prompt: str, **entity: Any) -> str:
    body = {
        "prompt": prompt,
        "worker_queue_id": "default",
        "execution_environment": {"env_vars": {"COLOUR": "teal"}},
        "entity": {
            "entity_type": "agent",
            "name": "passing",
            "system_prompt": "Be brief.",
            "model_id": "demo",
            **entity,
        },
    }
    return str(stack.call("POST", "/dynamic-executions/execute", body)["execution_id"])


def skill_id(stack: Stack) -> str:
    owner = stack.agent(f"owner-{uuid.uuid4().hex[:6]}", skills=[SHELL])
    return str(stack.call("GET", f"/agents/{owner}")["skill_ids"][0])


def result(stack: Stack, workflow_id: str) -> dict[str, Any]:
    async def get() -> dict[str, Any]:
        client = await Client.connect(stack.temporal_address)
        found: dict[str, Any] = await client.get_workflow_handle(workflow_id).result()
        return found

    return asyncio.run(get())


def test_an_agent_that_is_nowhere_else_works_with_skills_by_id_and_its_variables(stack: Stack) -> None:
    execution = dynamic(stack, script(shell("printenv COLOUR"), {"text": "It is teal."}), skill_ids=[skill_id(stack)])
    row = stack.wait(execution)
    assert (row["status"], row["response"], row["execution_type"]) == ("completed", "It is teal.", "dynamic")
    (tool,) = [e["data"] for e in stack.events(execution) if e["event"] == "tool_completed"]
    assert tool["tool_output"].strip() == "teal"
    told = result(stack, f"dynamic-execution-{execution}")
    assert (told["status"], told["response"]) == ("COMPLETED", "It is teal.")


def test_subagents_are_members_with_prompts_of_their_own(stack: Stack) -> None:
    subagents = [
        {"name": "reader", "description": "Reads", "prompt": "You read.", "model": "demo"},
        {"name": "counter", "description": "Counts", "prompt": "You count.", "model": "demo"},
    ]
    task = script(shell("printenv COLOUR"), {"text": "teal, says a member"})
    ask = {"tools": [{"name": f"ask_{name}", "arguments": {"task": task}} for name in ("reader", "counter")]}
    execution = dynamic(
        stack, script(ask, {"text": "Both say teal."}), subagents=subagents, skill_ids=[skill_id(stack)]
    )
    assert stack.wait(execution)["response"] == "Both say teal."
    tools = [e["data"] for e in stack.events(execution) if e["event"] == "member_tool_completed"]
    assert {(t["member_name"], t["tool_output"].strip()) for t in tools} == {("reader", "teal"), ("counter", "teal")}


def test_a_dynamic_agent_that_fails_fails_its_workflow(stack: Stack) -> None:
    endless = {"loop": shell("true")}
    configuration = {"budgets": {"max_steps": 2}}
    execution = dynamic(stack, script(endless), configuration=configuration, skill_ids=[skill_id(stack)])
    assert stack.wait(execution)["status"] == "failed"
    with pytest.raises(WorkflowFailureError) as told:  # how a workflow closes is how a client learns of it
        result(stack, f"dynamic-execution-{execution}")
    assert "budget of 2 model calls" in str(told.value.cause)
    assert "budget of 2 model calls" in stack.execution(execution)["error_message"]


def scheduled(stack: Stack, **raw: Any) -> dict[str, Any]:
    """Start a job's workflow as a Temporal schedule does; return its result, and the job's id as `asked_by`."""
    job = {"name": f"nightly-{uuid.uuid4().hex[:6]}", "trigger_type": "manual", "entity_type": "agent"}
    job_id = stack.call("POST", "/jobs", {**job, "entity_id": "ops", "prompt_template": "hello"})["id"]
    queue = next(q["id"] for q in stack.call("GET", "/worker-queues") if q["name"] == "default")

    async def run() -> dict[str, Any]:
        client = await Client.connect(stack.temporal_address)
        about = {"job_id": job_id, "job_name": "nightly", "trigger_type": "cron"}
        argument = {"execution_id": None, "organization_id": "local", "user_metadata": about, "model_id": "demo", **raw}
        found: dict[str, Any] = await client.execute_workflow(
            names.SCHEDULED_WORKFLOW, argument, id=f"job-{uuid.uuid4()}", task_queue=queue, result_type=dict
        )
        return {**found, "asked_by": job_id}

    return asyncio.run(run())


def test_a_scheduled_run_makes_its_row_runs_and_tells_how_the_job_went(stack: Stack) -> None:
    agent = stack.agent(f"nightly-{uuid.uuid4().hex[:6]}")
    told = scheduled(stack, agent_id=agent, prompt=script({"text": "All is well."}))
    assert (told["status"], told["response"]) == ("completed", "All is well.")
    row = stack.execution(told["execution_id"])
    assert (row["status"], row["entity_id"]) == ("completed", agent)
    job = row["execution_metadata"]["job"]
    assert (job["job_id"], job["status"]) == (told["asked_by"], "completed")
    assert job["duration_ms"] > 0


def test_a_scheduled_team_runs_too(stack: Stack) -> None:
    mark = uuid.uuid4().hex[:6]
    member = stack.agent(f"member-{mark}")
    body = {"name": f"team-{mark}", "configuration": {"member_ids": [member], "mode": "sequential"}}
    team = stack.call("POST", "/teams", body)["id"]
    told = scheduled(stack, team_id=team, prompt=script({"text": "The team is well."}))
    assert (told["status"], told["response"]) == ("completed", "The team is well.")


def test_a_job_whose_agent_was_deleted_is_cancelled_and_leaves_no_row(stack: Stack) -> None:
    told = scheduled(stack, agent_id=str(uuid.uuid4()), prompt="hello")
    assert (told["status"], told["reason"], told["job_id"]) == ("cancelled", "job_deleted", told["asked_by"])
    stack.call("GET", f"/executions/{told['execution_id']}", status=404)
