"""Teams on the published control plane, whose members are told without their prompt, model or skills."""

from __future__ import annotations

from typing import Any

from tests.contract.e2e.outcome_checks import SHELL, WatchedRun, check, mine, of
from tests.support.demo_scripts import script
from tests.support.published_stack import PublishedStack


def team_of(stack: PublishedStack, **members: dict[str, Any]) -> str:
    ids = [stack.agent(name, **fields) for name, fields in members.items()]
    configuration = {"member_ids": ids, "llm": {"model": "demo"}}
    return str(stack.call("POST", "/teams", {"name": "team", "configuration": configuration})["id"])


def execute(stack: PublishedStack, team: str, prompt: str) -> WatchedRun:
    body = {"prompt": prompt, "worker_queue_id": stack.plane.queue_id}
    return WatchedRun(stack, str(stack.call("POST", f"/teams/{team}/execute", body)["execution_id"]))


def ask(member: str, task: str) -> dict[str, Any]:
    return {"tools": [{"name": f"ask_{member}", "arguments": {"task": task}}]}


def test_a_team_completes_and_shows_its_members_calls(stack: PublishedStack) -> None:
    team = team_of(stack, looker={"skills": [SHELL]}, writer={})
    task = script(mine("echo seen"), {"text": "I have seen it."})
    run = execute(stack, team, script(ask("looker", task), {"text": "It was seen."}))
    check(stack, run, "completed", response="It was seen.")
    done = of(run.events, "member_tool_completed")
    assert [(d["member_name"], d["tool_output"].strip()) for d in done] == [("looker", "seen")]
    assert stack.world.teams[team]["status"] == "active"  # a run's status is none of a team


def test_a_team_that_fails(stack: PublishedStack) -> None:
    team = team_of(stack, writer={})
    configuration = {**stack.world.teams[team]["configuration"], "llm": {"model": "no-such-model"}}
    stack.world.teams[team]["configuration"] = configuration
    run = execute(stack, team, "Look.")
    check(stack, run, "failed", error="model")
    assert stack.closed(run.id) == "FAILED"


def test_a_team_that_is_cancelled(stack: PublishedStack) -> None:
    team = team_of(stack, looker={"skills": [SHELL]})
    task = script(mine("sleep 60"), {"text": "Never."})
    run = execute(stack, team, script(ask("looker", task), {"text": "Never."}))
    run.first("member_tool_started")
    assert stack.call("POST", f"/executions/{run.id}/cancel")["success"] is True
    check(stack, run, "cancelled", error="Cancelled")
