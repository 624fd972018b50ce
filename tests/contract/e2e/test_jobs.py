"""Jobs of the published control plane: by hand, by a real schedule of Temporal, and deleted meanwhile."""

from __future__ import annotations

from typing import Any

from tests.contract.e2e.outcome_checks import WatchedRun, check
from tests.support.demo_scripts import script
from tests.support.published_stack import PublishedStack
from tests.support.stack import wait_until


def job_of(stack: PublishedStack, kind: str, entity: str, **fields: Any) -> str:
    body = {
        "name": "job",
        "trigger_type": "manual",
        "planning_mode": f"predefined_{kind}",
        "entity_type": kind,
        "entity_id": entity,
        "prompt_template": script({"text": "Looked at it."}),
        "executor_type": "specific_queue",
        "worker_queue_name": stack.plane.queue_id,
        **fields,
    }
    return str(stack.call("POST", "/jobs", body)["id"])


def test_a_job_of_an_agent_runs_by_hand(stack: PublishedStack) -> None:
    job = job_of(stack, "agent", stack.agent("manual"))
    told = stack.call("POST", f"/jobs/{job}/trigger", {"parameters": {}})
    run = WatchedRun(stack, told["execution_id"])
    check(stack, run, "completed", response="Looked at it.")


def test_a_job_of_a_team_runs_by_hand(stack: PublishedStack) -> None:
    member = stack.agent("member")
    configuration = {"member_ids": [member], "llm": {"model": "demo"}}
    team = str(stack.call("POST", "/teams", {"name": "team", "configuration": configuration})["id"])
    told = stack.call("POST", f"/jobs/{job_of(stack, 'team', team)}/trigger", {})
    check(stack, WatchedRun(stack, told["execution_id"]), "completed", response="Looked at it.")


def test_by_its_schedule(stack: PublishedStack) -> None:
    job = job_of(stack, "agent", stack.agent("cron"), trigger_type="cron", cron_schedule="0 3 1 1 *")
    stack.fire(job)
    runs: list[dict[str, Any]] = []

    def ended() -> bool:
        runs[:] = [r for r in stack.world.job_runs if r["job_id"] == job]
        return bool(runs) and runs[0]["status"] == "completed"

    wait_until(ended, 60, f"the job's run ends: {runs}")
    (found,) = runs
    assert found["duration_ms"] > 0 and not found.get("error_message")
    row = stack.end(found["execution_id"])
    assert (row["status"], row["response"]) == ("completed", "Looked at it.")
    assert row["execution_metadata"]["job_id"] == job
    assert list(stack.watch(row["id"]))[-1]["event"] == "done"


def test_a_failed_run_of_a_schedule(stack: PublishedStack) -> None:
    agent = stack.agent("broken", model_id="no-such-model")
    job = job_of(stack, "agent", agent, trigger_type="cron", cron_schedule="0 3 1 1 *")
    stack.fire(job)
    runs: list[dict[str, Any]] = []

    def ended() -> bool:
        runs[:] = [r for r in stack.world.job_runs if r["job_id"] == job and r["status"] != "pending"]
        return bool(runs)

    wait_until(ended, 60, f"the job's run ends: {stack.world.job_runs}")
    assert runs[0]["status"] == "failed" and "model" in runs[0]["error_message"]
    assert stack.end(runs[0]["execution_id"])["status"] == "failed"


def test_a_job_that_is_gone_makes_no_run(stack: PublishedStack) -> None:
    job = job_of(stack, "agent", stack.agent("gone"), trigger_type="cron", cron_schedule="0 3 1 1 *")
    del stack.world.jobs[job]  # its schedule is still there
    stack.fire(job)
    asked: list[int] = []

    def refused() -> bool:
        posts = stack.world.sent("POST", "/executions/job-executions")
        asked[:] = [seen.status for seen in posts if seen.body["job_id"] == job]
        return bool(asked)

    wait_until(refused, 30, "the worker asks for a row")
    assert asked == [404]
    assert not [r for r in stack.world.job_runs if r["job_id"] == job]
