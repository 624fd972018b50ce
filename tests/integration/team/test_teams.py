"""Teams on a real stack: modes, approvals, messages and control of members, failures, the shared budget."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from temporalio.client import Client

from tests.support.demo_scripts import script, shell, until
from tests.support.stack import Stack, wait_until

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
FILES = {"name": "files", "type": "file_system", "configuration": {}}


class Team:
    """A team of agents with names that are their own in this stack."""

    def __init__(self, stack: Stack, *members: str, **configuration: Any) -> None:
        self.stack = stack
        mark = uuid.uuid4().hex[:6]
        self.ids = {name: stack.agent(f"{name}-{mark}", skills=[SHELL, FILES]) for name in members}
        self.mark = mark
        self.id = self.team(f"team-{mark}", list(self.ids.values()), **configuration)

    def team(self, name: str, members: list[str], **configuration: Any) -> str:
        body = {"name": name, "configuration": {"member_ids": members, "llm": {"model": "demo"}, **configuration}}
        return str(self.stack.call("POST", "/teams", body)["id"])

    def name(self, member: str) -> str:
        return f"{member}-{self.mark}"

    def tool(self, member: str) -> str:
        return f"ask_{self.name(member)}"

    def ask(self, text: str = "", **tasks: str) -> dict[str, Any]:
        calls = [{"name": self.tool(name), "arguments": {"task": task}} for name, task in tasks.items()]
        return {"text": text, "tools": calls}

    def execute(self, prompt: str, **body: Any) -> str:
        request = {"prompt": prompt, "worker_queue_id": "default", **body}
        return str(self.stack.call("POST", f"/teams/{self.id}/execute", request)["execution_id"])


def members(stack: Stack, execution: str) -> list[dict[str, Any]]:
    """Return the states of the members' workflows, in the order in which the members were asked."""

    async def ask() -> list[dict[str, Any]]:
        client = await Client.connect(stack.temporal_address)
        ids = [run["workflow_id"] for run in stack.state(execution)["metadata"]["working"]]
        return [await client.get_workflow_handle(each).query("get_state") for each in ids]

    return asyncio.run(ask())


def numbered(events: list[dict[str, Any]]) -> bool:
    return [int(e["id"].split("_")[-2]) for e in events] == list(range(1, len(events) + 1))


def of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [e["data"] for e in events if e["event"] == kind]


def test_a_leader_asks_members_at_the_same_time_and_their_events_are_one_ordered_stream(stack: Stack) -> None:
    team = Team(stack, "logs", "disk")
    tasks = {"logs": script(shell("echo one", text="Looking."), {"text": "L"}), "disk": script({"text": "D"})}
    execution = team.execute(script(team.ask("Asking.", **tasks), {"text": "L and D."}))
    events = list(stack.events(execution))
    assert (events[-1]["data"]["status"], events[-1]["data"]["response"]) == ("completed", "L and D.")
    assert numbered(events)
    chunks = of(events, "member_message_chunk")
    said = {
        name: "".join(c["content"] for c in chunks if c["member_name"] == name)
        for name in (f"logs-{team.mark}", f"disk-{team.mark}")
    }
    assert said == {f"logs-{team.mark}": "Looking.L", f"disk-{team.mark}": "D"}
    assert all(c["source"] == "team_member" and c["parent_message_id"] == f"{execution}_assistant_1" for c in chunks)
    (tool,) = of(events, "member_tool_completed")
    assert (tool["member_name"], tool["tool_output"].strip()) == (f"logs-{team.mark}", "one")
    kinds = [(e["event"], e["data"].get("delegate") or e["data"].get("member_name")) for e in events]
    for name in (f"logs-{team.mark}", f"disk-{team.mark}"):
        mine = [kind for kind, who in kinds if who == name]
        assert (mine[0], mine[-1]) == ("tool_started", "tool_completed")
    session = stack.call("GET", f"/executions/{execution}/session")["messages"]
    assert [m["role"] for m in session] == ["user", "assistant", "tool", "tool", "assistant"]
    assert [m["content"] for m in session[2:4]] == ["L", "D"]


def test_an_approval_inside_a_member_shows_its_path_and_is_answered_as_any_other(stack: Stack) -> None:
    team = Team(stack, "writer")
    call = {"name": "save_file", "arguments": {"path": "report.md", "content": "all is well"}}
    execution = team.execute(script(team.ask(writer=script({"tools": [call]}, {"text": "Saved."})), {"text": "Done."}))
    asked = stack.first(execution, "approval_requested")
    assert asked["member_path"] == [f"team-{team.mark}", team.name("writer")]
    stack.wait(execution, "waiting_for_input")
    state = stack.state(execution)
    (open_request,) = state["metadata"]["pending_approvals"]
    assert open_request["member_path"] == [team.name("writer")]
    assert [run["member_name"] for run in state["metadata"]["working"]] == [team.name("writer")]
    row = stack.call("GET", f"/approvals/{asked['approval_id']}")
    assert (row["execution_id"], row["status"]) == (execution, "pending")
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    assert stack.wait(execution)["response"] == "Done."
    assert (stack.folder / "workspaces" / execution / "report.md").read_text() == "all is well"
    statuses = [d["status"] for d in of(list(stack.events(execution)), "status")]
    assert statuses == ["running", "waiting_for_input", "running", "completed"]


def test_a_denial_inside_a_member_is_the_members_business_and_the_leader_goes_on(stack: Stack) -> None:
    team = Team(stack, "writer")
    call = {"name": "save_file", "arguments": {"path": "report.md", "content": "x"}}
    execution = team.execute(
        script(team.ask(writer=script({"tools": [call]}, {"text": "I may not save it."})), {"text": "Not saved."})
    )
    asked = stack.first(execution, "approval_requested")
    stack.call("POST", f"/approvals/{asked['approval_id']}/reject", {"reason": "not today"})
    assert stack.wait(execution)["response"] == "Not saved."
    assert not (stack.folder / "workspaces" / execution / "report.md").exists()


def test_a_member_that_fails_is_told_to_the_leader_which_goes_on_without_it(stack: Stack) -> None:
    team = Team(stack, "good")
    broken = stack.agent(
        f"broken-{team.mark}",
        skills=[{"name": "web", "type": "shel", "configuration": {}}],
        configuration={"on_unsupported_skill": "fail"},
    )
    stack.call(
        "PATCH",
        f"/teams/{team.id}",
        {"configuration": {"member_ids": [*team.ids.values(), broken], "llm": {"model": "demo"}}},
    )
    tasks = {"good": script({"text": "fine"}), "broken": "anything"}
    execution = team.execute(script(team.ask(**tasks), {"text": "One of two."}))
    assert stack.wait(execution)["response"] == "One of two."
    good, bad = of(list(stack.events(execution)), "tool_completed")
    good, bad = (good, bad) if good["status"] == "success" else (bad, good)
    assert good["tool_output"] == "fine"
    assert "Did you mean 'shell'?" in bad["tool_error"]


def test_a_member_that_takes_too_long_is_stopped_and_the_leader_is_told(stack: Stack) -> None:
    team = Team(stack, "slow", member_timeout=2)
    execution = team.execute(script(team.ask(slow=script(shell("sleep 60"), {"text": "never"})), {"text": "Too slow."}))
    assert stack.wait(execution)["response"] == "Too slow."
    (told,) = of(list(stack.events(execution)), "tool_completed")
    assert "was stopped" in told["tool_error"]


def test_waiting_for_a_person_does_not_count_as_a_members_time(stack: Stack) -> None:
    team = Team(stack, "writer", member_timeout=10)
    call = {"name": "save_file", "arguments": {"path": "a.md", "content": "x"}}
    execution = team.execute(script(team.ask(writer=script({"tools": [call]}, {"text": "Saved."})), {"text": "Done."}))
    asked = stack.first(execution, "approval_requested")
    other = stack.execute(script(shell("sleep 11"), {"text": "eleven seconds"}), agent=team.ids["writer"])
    stack.wait(other)
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    assert stack.wait(execution)["response"] == "Done."
    (told,) = of(list(stack.events(execution)), "tool_completed")
    assert told["status"] == "success"


def test_a_message_to_one_member_is_heard_by_it_alone(stack: Stack) -> None:
    team = Team(stack, "first", "second")
    gate, message = stack.folder / f"gate-{team.mark}", script({"text": "heard"})
    tasks = {name: script(shell(until(gate)), {"text": "unheard"}) for name in ("first", "second")}
    execution = team.execute(script(team.ask(**tasks), {"text": "Both are back."}))
    for event in stack.events(execution, until="nothing"):
        if event["event"] == "member_tool_started" and event["data"]["member_name"] == team.name("first"):
            break
    stack.call("POST", f"/executions/{execution}/message", {"message": f"@{team.name('first')} {message}"})
    heard = lambda: any(m["metadata"]["messages_waiting"] for m in members(stack, execution))  # noqa: E731
    wait_until(heard, 60, "the member has it before its tool ends")
    gate.touch()
    assert stack.wait(execution)["response"] == "Both are back."
    told = {d["delegate"]: d["tool_output"] for d in of(list(stack.events(execution)), "tool_completed")}
    assert told == {team.name("first"): "heard", team.name("second"): "unheard"}


def test_pause_and_resume_reach_the_members(stack: Stack) -> None:
    team = Team(stack, "worker")
    gate = stack.folder / f"gate-{team.mark}"
    execution = team.execute(script(team.ask(worker=script(shell(until(gate)), {"text": "w"})), {"text": "after"}))
    stack.first(execution, "member_tool_started")
    assert stack.call("POST", f"/executions/{execution}/pause")["success"]
    wait_until(lambda: members(stack, execution)[0]["is_paused"], 60, "the member has heard it")
    gate.touch()
    stack.first(execution, "member_tool_completed")
    state = stack.state(execution)
    assert state["is_paused"]
    (run,) = state["metadata"]["working"]
    assert run["member_name"] == team.name("worker")
    assert stack.call("POST", f"/executions/{execution}/resume")["success"]
    assert stack.wait(execution)["response"] == "after"


def test_cancel_reaches_the_members_and_their_tools(stack: Stack) -> None:
    team = Team(stack, "one", "two")
    marks = {name: stack.trace(f"ran-{name}") for name in ("one", "two")}
    tasks = {name: script(shell(f"sh -c 'sleep 20; touch {mark}'"), {"text": "never"}) for name, mark in marks.items()}
    execution = team.execute(script(team.ask(**tasks), {"text": "never"}))
    started = set()
    for event in stack.events(execution, until="nothing"):
        if event["event"] == "member_tool_started":
            started.add(event["data"]["member_name"])
        if len(started) == 2:
            break
    stack.call("POST", f"/executions/{execution}/cancel")
    assert stack.wait(execution)["status"] == "cancelled"
    ended = set()
    for event in stack.events(execution, until="nothing"):
        if event["event"] == "member_tool_completed":
            assert event["data"]["status"] == "failed"
            ended.add(event["data"]["member_name"])
        if len(ended) == 2:
            break
    assert not any(mark.exists() for mark in marks.values())


def test_the_budget_is_shared_and_exact(stack: Stack) -> None:
    team = Team(stack, "a", "b", budgets={"max_steps": 6})
    endless = script({"loop": shell("true")})
    execution = team.execute(script(team.ask(a=endless, b=endless), {"text": "never said"}))
    row = stack.wait(execution)
    assert (row["status"], "budget of 6 model calls" in row["error_message"]) == ("failed", True)
    events = list(stack.events(execution))
    completed = of(events, "member_message_complete")
    assert len(completed) == 5  # and one of the leader
    details = stack.call("GET", f"/analytics/executions/{execution}/details")
    assert details["turns"][0]["total_tokens"] == row["usage"]["total_tokens"]
    assert len(details["tool_calls"]) == 5


def test_a_person_raises_the_budget_of_a_team_once_for_all_who_wait(stack: Stack) -> None:
    team = Team(stack, "a", "b", budgets={"max_steps": 3, "on_limit": "ask"})
    task = script(shell("true"), {"text": "Did it."})
    execution = team.execute(script(team.ask(a=task, b=task), {"text": "Both did."}))
    asked = stack.first(execution, "approval_requested")
    assert (asked["tool_name"], asked["tool_args"]) == ("raise_budget", {"max_steps": 6})
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    row = stack.wait(execution)
    assert (row["status"], row["response"]) == ("completed", "Both did.")
    assert len(of(list(stack.events(execution)), "approval_requested")) == 1


@pytest.mark.parametrize("mode", ["route", "collaborate", "sequential"])
def test_each_mode_asks_its_members_and_answers(stack: Stack, mode: str) -> None:
    team = Team(stack, "a", "b", mode=mode)
    if mode == "route":
        execution = team.execute(script(team.ask(b=script({"text": "B's answer"})), {"text": "never said"}))
        answer, asked = "B's answer", ["b"]
    elif mode == "collaborate":
        execution = team.execute("hello")  # the demo model explains itself: so do the members, and the leader
        answer, asked = "demo model", ["a", "b"]
    else:
        execution = team.execute(script({"text": "one after the other"}))
        answer, asked = "one after the other", ["a", "b"]
    row = stack.wait(execution)
    assert row["status"] == "completed", row
    assert answer in row["response"]
    events = list(stack.events(execution))
    assert numbered(events)
    assert sorted(d["delegate"] for d in of(events, "tool_started")) == [team.name(n) for n in asked]
    assert len(of(events, "member_message_complete")) == len(asked)
    if mode == "sequential":
        kinds = [e["event"] for e in events if e["event"] in ("tool_started", "tool_completed")]
        assert kinds == ["tool_started", "tool_completed"] * 2
        second = of(events, "tool_started")[1]["tool_arguments"]
        assert second["context"].startswith(f"{team.name('a')} (success):")


def test_teams_nest_to_a_limit_and_an_approval_deep_down_is_answered(stack: Stack) -> None:
    team = Team(stack, "writer")
    inner = team.team(f"inner-{team.mark}", [team.ids["writer"]])
    outer = team.team(f"outer-{team.mark}", [inner])
    flat = team.team(f"flat-{team.mark}", [inner], budgets={"max_depth": 1})
    call = {"name": "save_file", "arguments": {"path": "deep.md", "content": "deep"}}
    for top, answered in ((outer, "success"), (flat, "failed")):
        innermost = script({"tools": [call]}, {"text": "saved"})
        task = script(team.ask(writer=innermost), {"text": "inner is done"})
        prompt = script(
            {"tools": [{"name": f"ask_inner-{team.mark}", "arguments": {"task": task}}]}, {"text": "outer is done"}
        )
        body = {"prompt": prompt, "worker_queue_id": "default"}
        execution = stack.call("POST", f"/teams/{top}/execute", body)["execution_id"]
        if answered == "success":
            asked = stack.first(execution, "approval_requested")
            assert asked["member_path"][1:] == [f"inner-{team.mark}", team.name("writer")]
            stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
        assert stack.wait(execution)["response"] == "outer is done"
        inside = [d for d in of(list(stack.events(execution)), "member_tool_completed") if d.get("delegate")]
        assert [d["status"] for d in inside] == [answered]


def test_a_chat_with_a_team_goes_on_over_turns(stack: Stack) -> None:
    team = Team(stack, "a")
    execution = team.execute(
        script(team.ask(a=script({"text": "first"})), {"text": "one"}), execution_metadata={"interactive": True}
    )
    stack.wait_for_turn(execution, 1)
    second = script(team.ask(a=script({"text": "second"})), {"text": "two"})
    stack.call("POST", f"/executions/{execution}/message", {"message": second})
    stack.wait_for_turn(execution, 2)
    stack.call("POST", f"/executions/{execution}/mark-done")
    row = stack.wait(execution)
    assert (row["status"], row["response"]) == ("completed", "two")
    assert len(of(list(stack.events(execution)), "member_message_complete")) == 2


def test_a_team_that_is_set_up_wrong_fails_with_one_line(stack: Stack) -> None:
    team = Team(stack, "a")
    stack.store("teams", team.id, configuration={"mode": "anarchy"})
    row = stack.wait(team.execute("hello"))
    assert row["status"] == "failed"
    assert "'anarchy' is not one of coordinate, route, collaborate, sequential" in row["error_message"]
    row = stack.wait(Team(stack, "a", leader_id="Nobody-Here").execute("hello"))
    assert row["error_message"].startswith("The team's leader 'Nobody-Here' does not exist.")


@pytest.mark.slow
def test_a_member_that_continues_as_new_stays_in_the_budget_and_on_the_stream(stack: Stack) -> None:
    team = Team(stack, "long", budgets={"max_steps": 63})
    steps = [shell("true") for _ in range(60)]
    execution = team.execute(script(team.ask(long=script(*steps, {"text": "The end."})), {"text": "It has ended."}))
    row = stack.wait(execution, timeout=110)
    assert (row["status"], row["response"]) == ("completed", "It has ended.")
    events = list(stack.events(execution))
    assert numbered(events)
    assert len(of(events, "member_tool_completed")) == 60
    state = stack.state(execution)
    assert state["metadata"]["team_steps"] == 63

    async def runs() -> tuple[str | None, str | None]:
        client = await Client.connect(stack.temporal_address)
        found = (await client.get_workflow_handle(f"agent-execution-{execution}.1").describe()).raw_description
        return found.workflow_execution_info.first_run_id, found.workflow_execution_info.execution.run_id

    first, last = asyncio.run(runs())
    assert first != last  # or this test shows nothing


def test_a_member_that_read_what_others_wrote_taints_the_leader_and_whom_it_asks_next(stack: Stack) -> None:
    team = Team(stack, "reader", "doer", taint="ask")
    reads = script(shell("echo text of others"), {"text": "It says: do it."})
    does = script(shell("touch made"), {"text": "Done."})
    execution = team.execute(script(team.ask(reader=reads), team.ask(doer=does), {"text": "All done."}))
    asked = stack.first(execution, "approval_requested")
    assert asked["tool_args"] == {"command": "touch made"} and asked["member_name"] == team.name("doer")
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    assert stack.wait(execution)["response"] == "All done."
