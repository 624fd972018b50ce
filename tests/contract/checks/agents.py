"""Agents, teams, skills, environments, and what a run is started with (docs/protocol.md#a7, #a8, #b2, #b3)."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from temporalio.client import Client, ScheduleActionStartWorkflow
from temporalio.service import RPCError

from tests.contract.checks.registry import checks
from tests.contract.control_planes import PlaneUnderTest
from tests.support.stack import wait_until


@checks("agents.drops")
def patch_of_an_agent(plane: PlaneUnderTest) -> None:
    agent = plane.agent()
    body = {"status": "running", "last_active_at": "2026-01-01T00:00:00Z", "state": {"a": 1}, "error_message": "x"}
    plane.call("PATCH", f"/agents/{agent}", body)
    found = plane.call("GET", f"/agents/{agent}")
    assert found["status"] == "running"
    assert (found["last_active_at"], found["state"], found["error_message"]) == (None, {}, None)


@checks("teams.status")
def status_of_a_team(plane: PlaneUnderTest) -> None:
    team = plane.team()
    for status in ("running", "completed", "failed"):
        plane.refused("PATCH", f"/teams/{team}", {"status": status})
    for status in ("idle", "inactive", "archived", "active"):
        assert plane.call("PATCH", f"/teams/{team}", {"status": status})["status"] == status


@checks("teams.member-objects")
def members(plane: PlaneUnderTest) -> None:
    agent = plane.agent(system_prompt="secret", model_id="demo", description="looks")
    (member,) = plane.call("GET", f"/teams/{plane.team(member_ids=[agent])}")["agents"]
    assert member["id"] == agent and member["description"] == "looks"
    assert not {"system_prompt", "model_id", "runtime", "configuration"} & set(member)


@checks("execute.queue-required")
def queue_of_a_run(plane: PlaneUnderTest) -> None:
    path = f"/agents/{plane.any_agent()}/execute"
    if plane.published:  # ours takes a queue that has a live worker
        plane.refused("POST", path, {"prompt": "Look."})
    plane.refused("POST", path, {"worker_queue_id": plane.queue_id})
    assert plane.status("POST", path, {"prompt": "Look.", "worker_queue_id": str(uuid.uuid4())}) == 404


@checks("skills.known-keys")
def keys_of_a_skill(plane: PlaneUnderTest) -> None:
    configuration = {"timeout": 60, "shell_binary": "/bin/bash", "working_directory": "/srv"}
    if plane.published:
        body = {"name": "shell", "type": "shell", "configuration": configuration}
        assert plane.call("POST", "/skills", body, 201)["configuration"] == {"timeout": 60}
    else:  # ours keeps skills with their agent, and all that they say
        agent = plane.agent(skills=[{"name": "shell", "type": "shell", "configuration": configuration}])
        (found,) = plane.call("GET", f"/skills/associations/agents/{agent}/skills/resolved")
        assert found["configuration"] == configuration


@checks("skills.auto-shell")
def attached_shell(plane: PlaneUnderTest) -> None:
    found = plane.call("GET", f"/skills/associations/agents/{plane.agent()}/skills/resolved")
    assert [(s["type"], s["configuration"], s["enabled"]) for s in found] == [("shell", {}, True)]
    if plane.published:
        body = {"name": "mine", "type": "shell", "configuration": {"timeout": 9}}
        own = plane.call("POST", "/skills", body, 201)["id"]
        path = f"/skills/associations/agents/{plane.agent(skill_ids=[own])}/skills/resolved"
        assert sorted(s["name"] for s in plane.call("GET", path)) == ["Shell", "mine"]


@checks("environment.key")
def environment(plane: PlaneUnderTest) -> None:
    agent = plane.agent(execution_environment={"env_vars": {"REGION": "eu"}}, system_prompt="Be brief.")
    found = plane.call("GET", f"/execution-environment/agents/{agent}/resolved/full")
    assert found["env_vars"]["REGION"] == "eu"
    assert found["system_prompt"] == "Be brief."
    if plane.published:  # ours hands out no key: a tool does not need it
        assert found["env_vars"]["KUBIYA_API_KEY"] == plane.key
        assert "MEMORY_DATASET_NAME" in found["env_vars"]


@checks("temporal.ids")
def workflow_ids(plane: PlaneUnderTest) -> None:
    body = {"prompt": "{}", "worker_queue_id": plane.queue_id}
    told = plane.call("POST", f"/teams/{plane.team(member_ids=[plane.any_agent()])}/execute", body)
    assert told["workflow_id"] == f"team-execution-{told['execution_id']}"
    assert _input(plane, told["workflow_id"])["execution_id"] == told["execution_id"]
    _input(plane, f"agent-execution-{plane.run()}")


@checks("temporal.input")
def workflow_input(plane: PlaneUnderTest) -> None:
    execution_id = plane.run()
    given = _input(plane, f"agent-execution-{execution_id}")
    assert given["execution_id"] == execution_id and given["agent_id"] == plane.any_agent()
    objects = ("model_config", "agent_config", "mcp_servers", "user_metadata")
    assert all(isinstance(given[name], dict) for name in objects)
    if plane.published:  # in the history, for anybody who can read it: a worker must not use them
        assert given["api_key"] == plane.key and given["control_plane_url"].startswith("http")
    else:
        assert given["api_key"] is None


@checks("temporal.cron-null-id")
def input_of_a_cron_run(plane: PlaneUnderTest) -> None:
    body = {
        "name": f"j-{uuid.uuid4()}",
        "trigger_type": "cron",
        "cron_schedule": "0 3 1 1 *",
        "planning_mode": "predefined_agent",
        "entity_type": "agent",
        "entity_id": plane.any_agent(),
        "prompt_template": "Look.",
        "executor_type": "specific_queue",
        "worker_queue_name": plane.queue_id,
    }
    job = plane.call("POST", "/jobs", body, 201)["id"]
    given: list[Any] = []

    async def look() -> bool:
        try:
            found = await (await Client.connect(plane.temporal)).get_schedule_handle(f"job-{job}").describe()
        except RPCError:
            return False
        action = found.schedule.action
        assert isinstance(action, ScheduleActionStartWorkflow) and action.workflow == "ScheduledJobWrapperWorkflow"
        assert action.task_queue == plane.queue_id
        given.extend(await found.data_converter.decode(action.args))
        return True

    wait_until(lambda: asyncio.run(look()), plane.patience, f"the schedule job-{job}")
    assert given[0].get("execution_id") is None
    assert given[0]["user_metadata"]["job_id"] == job and given[0]["user_metadata"]["trigger_type"] == "cron"


def _input(plane: PlaneUnderTest, workflow_id: str) -> dict[str, Any]:
    """Return the input of a workflow, read from its history."""
    found: list[dict[str, Any]] = []

    async def look() -> bool:
        client = await Client.connect(plane.temporal)
        try:
            history = await client.get_workflow_handle(workflow_id).fetch_history()
        except RPCError:
            return False
        payloads = history.events[0].workflow_execution_started_event_attributes.input.payloads
        assert len(payloads) == 1
        found.append((await client.data_converter.decode(list(payloads)))[0])
        return True

    wait_until(lambda: asyncio.run(look()), plane.patience, f"the workflow {workflow_id}")
    return found[0]
