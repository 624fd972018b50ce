"""Deleting what others need is refused; a job whose target is gone says that it is broken."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.api import Api, Object

JOB = {"trigger_type": "manual", "prompt_template": "Look."}


def unique(start: str) -> str:
    return f"{start}-{uuid.uuid4()}"[:30]


def queue(api: Api, environment: str = "default") -> str:
    return str(api.call("POST", f"/environments/{environment}/worker-queues", {"name": unique("q")})["id"])


def job(api: Api, **fields: Any) -> str:
    body = {"name": unique("j"), "entity_type": "agent", "entity_id": "ops", **JOB, **fields}
    return str(api.call("POST", "/jobs", body)["id"])


def busy_agent(api: Api) -> tuple[str, set[tuple[str, str]], str]:
    agent = api.agent()
    execution = api.execute(agent["id"])
    by_name = {"member_ids": [agent["name"]]}
    team = api.call("POST", "/teams", {"name": unique("t"), "configuration": by_name})["id"]
    runs = job(api, entity_id=agent["id"])
    needs = {("execution", execution), ("team", team), ("job", runs)}
    return f"/agents/{agent['id']}", needs, "cancelled changed disabled"


def busy_team(api: Api) -> tuple[str, set[tuple[str, str]], str]:
    team = api.call("POST", "/teams", {"name": unique("t"), "configuration": {"member_ids": ["logs"]}})["id"]
    body = {"prompt": "x", "worker_queue_id": "default"}
    execution = api.call("POST", f"/teams/{team}/execute", body)["execution_id"]
    runs = job(api, entity_type="team", entity_id=team)
    return f"/teams/{team}", {("execution", execution), ("job", runs)}, "cancelled disabled"


def busy_member(api: Api) -> tuple[str, set[tuple[str, str]], str]:
    path, needs, _ = busy_team(api)
    agent = api.agent()["id"]
    api.call("POST", f"{path}/agents/{agent}")
    return f"{path}/agents/{agent}", {need for need in needs if need[0] == "execution"}, "cancelled"


def busy_queue(api: Api, environment: str = "default") -> tuple[str, set[tuple[str, str]], str]:
    key = queue(api, environment)
    worker = api.call("POST", f"/worker-queues/{key}/start", {})["worker_id"]
    execution = api.execute(worker_queue_id=key)
    runs = job(api, executor_type="specific_queue", worker_queue_name=key)
    times = {"trigger_type": "cron", "cron_schedule": "0 3 * * *", "executor_type": "specific_queue"}
    scheduled = job(api, worker_queue_name=key, **times)
    needs = {("execution", execution), ("job", runs), ("job", scheduled), ("worker", worker)}
    return f"/worker-queues/{key}", needs, "cancelled disabled disconnected"


def busy_environment(api: Api) -> tuple[str, set[tuple[str, str]], str]:
    environment = api.call("POST", "/environments", {"name": unique("e")})
    path, needs, _ = busy_queue(api, environment["id"])
    agent = api.agent(environment_ids=[environment["id"]])["id"]
    runs = job(api, executor_type="environment", environment_name=environment["name"])
    needs |= {("queue", path.rpartition("/")[2]), ("agent", agent), ("job", runs)}
    return f"/environments/{environment['id']}", needs, "cancelled changed deleted disabled disconnected"


def busy_rule(api: Api) -> tuple[str, set[tuple[str, str]], str]:
    body = {"name": unique("r"), "scope_type": "tool", "scope_value": "x"}
    rule = api.call("POST", "/approval-rules", body)["id"]
    request = {"execution_id": api.execute(), "tool_name": "x", "rule_id": rule}
    return f"/approval-rules/{rule}", {("approval", api.call("POST", "/approvals", request)["id"])}, "rejected"


Busy = Callable[[Api], tuple[str, set[tuple[str, str]], str]]
BUSY = [busy_agent, busy_team, busy_member, busy_queue, busy_environment, busy_rule]


def pairs(rows: list[Object]) -> set[tuple[str, str]]:
    return {(row["kind"], row["id"]) for row in rows}


@pytest.mark.parametrize("busy", BUSY)
def test_what_others_need_is_refused_with_their_list(api: Api, busy: Busy) -> None:
    path, needs, _ = busy(api)
    detail = api.call("DELETE", path, None, 409)["detail"]
    assert pairs(detail["needed_by"]) == needs
    assert "is needed by" in detail["message"]
    assert "force=true" in detail["hint"]
    assert all(need["name"] in detail["message"] for need in detail["needed_by"] if need["name"])
    assert pairs(api.call("DELETE", path, None, 409)["detail"]["needed_by"]) == needs  # nothing was done


@pytest.mark.parametrize("busy", BUSY)
def test_force_ends_each_and_says_so(api: Api, busy: Busy) -> None:
    path, needs, becomes = busy(api)
    ended = api.call("DELETE", f"{path}?force=true")["ended"]
    assert pairs(ended) == needs
    assert " ".join(sorted({one["now"] for one in ended})) == becomes
    assert api.ask("GET", path).status_code in (404, 405)
    for one in ended:
        key = one["id"]
        if one["now"] == "cancelled":
            shown = api.call("GET", f"/executions/{key}")
            assert shown["status"] == "cancelled"
            assert "was deleted" in shown["error_message"]
            assert "cancel" in [told["action"] for told in api.told(key)] or not api.told(key)
        elif one["now"] == "disabled":
            shown = api.call("GET", f"/jobs/{key}")
            assert shown["enabled"] is False
            known = api.plane.scheduler.get(key)
            assert known is None or known.paused
        elif one["now"] == "rejected":
            shown = api.call("GET", f"/approvals/{key}")
            assert shown["status"] == "rejected"
            answers = [told for told in api.told(shown["execution_id"]) if told["action"] == "signal"]
            assert answers[-1]["argument"]["args"][0]["decision"] == "rejected"
        elif one["now"] == "disconnected":
            assert key not in [worker["id"] for worker in api.call("GET", "/workers")]
        elif one["now"] == "deleted":
            assert api.ask("GET", f"/worker-queues/{key}").status_code == 404
    seen = {record["object"]["id"]: record["action"] for record in reversed(api.call("GET", "/audit?limit=1000"))}
    for kind, key in needs - {need for need in needs if need[0] == "worker"}:
        assert key in seen, (kind, key)  # each has its own record


@pytest.mark.parametrize("busy", BUSY)
def test_what_nobody_needs_any_more_is_deleted(api: Api, busy: Busy) -> None:
    path, needs, _ = busy(api)
    for kind, key in sorted(needs, key=lambda need: need[0] == "queue"):
        if kind == "execution":
            api.call("POST", f"/executions/{key}/cancel")
        elif kind == "approval":
            api.call("POST", f"/approvals/{key}/reject", {"reason": "no"})
        elif kind == "worker":
            api.call("POST", f"/workers/{key}/disconnect", {})
        else:
            api.call("DELETE", f"/{'worker-queues' if kind == 'queue' else f'{kind}s'}/{key}")
    api.call("DELETE", path)


def test_a_long_list_is_cut_in_the_text_and_whole_in_the_data(api: Api) -> None:
    agent = api.agent()["id"]
    made = {("execution", api.execute(agent)) for _ in range(25)}
    detail = api.call("DELETE", f"/agents/{agent}", None, 409)["detail"]
    assert pairs(detail["needed_by"]) == made
    assert "and 5 more" in detail["message"]


def test_a_definition_that_others_need_is_kept_unless_forced(api: Api) -> None:
    path, needs, _ = busy_agent(api)
    name = api.call("GET", path)["name"]
    detail = api.call("DELETE", f"/definitions/agent/{name}", None, 409)["detail"]
    assert pairs(detail["needed_by"]) == needs
    change = api.call("DELETE", f"/definitions/agent/{name}?force=true")
    assert (change["action"], pairs(change["ended"])) == ("deleted", needs)
    assert api.ask("GET", path).status_code == 404


def test_a_queue_of_one_run_is_deleted_while_it_ends(api: Api) -> None:
    made = api.call("POST", "/environments/default/worker-queues", {"name": unique("local-exec")})
    assert made["ephemeral"]
    api.call("POST", f"/worker-queues/{made['id']}/start", {})
    api.call("DELETE", f"/worker-queues/{made['id']}")


def gone(api: Api, kind: str) -> tuple[str, str]:
    """Return a job whose target is gone as an older version has left it, and what it says."""
    if kind == "agent":
        agent = api.agent()
        made = job(api, entity_id=agent["id"])
        api.plane.stores.agents.delete(agent)
        return made, "The agent that it runs was deleted"
    if kind == "environment":
        environment = api.call("POST", "/environments", {"name": unique("e")})
        queue(api, environment["id"])
        made = job(api, executor_type="environment", environment_name=environment["name"])
        api.plane.stores.environments.delete(environment)
        return made, f"Its environment {environment['name']!r} was deleted"
    key = queue(api)
    times: Object = {"trigger_type": "cron", "cron_schedule": "0 3 * * *"} if kind == "schedule" else {}
    made = job(api, executor_type="specific_queue", worker_queue_name=key, **times)
    found = api.plane.stores.queues.find("local", key)
    assert found is not None
    api.plane.stores.queues.delete(found)
    return made, f"Its queue {key!r} was deleted"


@pytest.mark.parametrize("kind", ["agent", "environment", "queue", "schedule"])
def test_a_job_whose_target_is_gone_says_that_it_is_broken(api: Api, kind: str) -> None:
    assert api.call("GET", f"/jobs/{job(api)}")["broken"] is None
    made, text = gone(api, kind)
    if kind != "schedule":  # Temporal would be asked when it is due
        assert api.call("GET", f"/jobs/{made}")["broken"] == text
    (listed,) = [each for each in api.call("GET", "/jobs") if each["id"] == made]
    assert listed["broken"] == text
    told = api.call("POST", f"/jobs/{made}/trigger", {}, 409)["detail"]
    assert told.endswith(f"is broken. {text}")


def test_a_scheduled_run_without_its_agent_is_told_at_the_job(api: Api) -> None:
    made, _ = gone(api, "agent")
    entity = api.call("GET", f"/jobs/{made}")["entity_id"]
    body = {"execution_id": str(uuid.uuid4()), "organization_id": "local", "entity_type": "agent", "entity_id": entity}
    about = {"prompt": "Look.", "trigger_type": "cron", "trigger_metadata": {}, "job_id": made}
    api.call("POST", "/executions/create", {**body, **about}, 404)
    assert "did not start: the agent that it runs was deleted" in api.call("GET", f"/jobs/{made}")["error_message"]
