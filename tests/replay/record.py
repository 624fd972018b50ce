"""Executions of every shape, run on a real stack, and their histories as JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from temporalio.client import Client

from tests.support.demo_scripts import script, shell
from tests.support.model_endpoint import ModelEndpoint
from tests.support.schedules import due, tick
from tests.support.stack import Stack, wait_until

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
FILES = {"name": "files", "type": "file_system", "configuration": {}}
CHAT: dict[str, Any] = {"execution_metadata": {"interactive": True}}


SAVE = {"tools": [{"name": "save_file", "arguments": {"path": "note.txt", "content": "hello"}}]}


def record(stack: Stack) -> Iterator[tuple[str, str]]:
    """(shape, history as JSON text) of one run each; a shape of several runs is numbered."""
    stack.worker()
    agents = ((shape, f"agent-execution-{execution}") for shape, execution in _executions(stack))
    limits = ((shape, f"agent-execution-{execution}") for shape, execution in _limits(stack))
    for shape, workflow_id in (*agents, *limits, *_teams(stack), *_asking(stack), *_scheduled(stack)):
        texts = asyncio.run(_histories(stack.temporal_address, workflow_id))
        for number, text in enumerate(texts, 1):
            yield (shape if len(texts) == 1 else f"{shape}-{number}"), text


def _executions(stack: Stack) -> Iterator[tuple[str, str]]:
    agent = stack.agent("recorded", skills=[SHELL, FILES])

    execution = stack.execute(script({"text": "Hello."}), agent=agent)
    assert stack.wait(execution)["status"] == "completed"
    yield "plain", execution

    execution = stack.execute(script(shell("echo one", "echo two"), shell("echo three"), {"text": "."}), agent=agent)
    assert stack.wait(execution)["status"] == "completed"
    yield "tools", execution

    execution = stack.execute(script(SAVE, {"text": "Saved."}), agent=agent)
    asked = stack.first(execution, "approval_requested")
    edited = {"arguments": {"path": "other.txt", "content": "bye"}}
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", edited)
    assert stack.wait(execution)["status"] == "completed"
    yield "approved", execution

    execution = stack.execute(script(SAVE, {"text": "Not saved."}), agent=agent)
    asked = stack.first(execution, "approval_requested")
    stack.call("POST", f"/approvals/{asked['approval_id']}/reject", {"reason": "no"})
    assert stack.wait(execution)["status"] == "completed"
    yield "denied", execution

    rule = {"name": "soon", "scope_type": "tool", "scope_value": "save_file", "timeout_minutes": 1, "priority": 99}
    made = stack.call("POST", "/approval-rules", rule)["id"]
    execution = stack.execute(script(SAVE, {"text": "Nobody came."}), agent=agent)
    assert stack.wait(execution, timeout=120)["status"] == "completed"
    stack.call("DELETE", f"/approval-rules/{made}")
    yield "expired", execution

    execution = stack.execute("hello", agent=agent, **CHAT)
    stack.wait_for_turn(execution, 1)
    stack.call("POST", f"/executions/{execution}/message", {"message": script({"text": "Again."})})
    stack.wait_for_turn(execution, 2)
    stack.call("POST", f"/executions/{execution}/pause")
    stack.call("POST", f"/executions/{execution}/resume")
    stack.call("POST", f"/executions/{execution}/mark-done")
    assert stack.wait(execution)["status"] == "completed"
    yield "chat", execution

    execution = stack.execute(script(shell("sleep 60"), {"text": "Never."}), agent=agent)
    stack.first(execution, "tool_started")
    stack.call("POST", f"/executions/{execution}/cancel")
    assert stack.wait(execution)["status"] == "cancelled"
    yield "cancelled", execution

    limited = stack.agent("limited", skills=[SHELL], configuration={"budgets": {"max_steps": 2}})
    execution = stack.execute(script({"loop": shell("true")}), agent=limited)
    assert stack.wait(execution)["status"] == "failed"
    yield "failed", execution

    execution = stack.execute(script(*[shell("true")] * 60, {"text": "The end."}), agent=agent)
    assert stack.wait(execution, timeout=120)["status"] == "completed"
    yield "continued", execution


def _limits(stack: Stack) -> Iterator[tuple[str, str]]:
    """A limit that a person raises, and a conversation that is summed up."""
    budgets = {"budgets": {"max_steps": 1, "on_limit": "ask"}}
    asking = stack.agent("raised", skills=[SHELL], configuration=budgets)
    execution = stack.execute(script(shell("true"), {"text": "Raised."}), agent=asking)
    asked = stack.first(execution, "approval_requested")
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    assert stack.wait(execution)["status"] == "completed"
    yield "raised", execution

    compact = stack.agent("compact", skills=[SHELL], configuration={"compaction": {"at_tokens": 1}})
    execution = stack.execute(script(shell("true"), {"text": "."}), agent=compact)
    assert stack.wait(execution)["status"] == "completed"
    kinds = [e["data"].get("kind") for e in stack.events(execution) if e["event"] == "notice"]
    assert "compaction" in kinds
    yield "compacted", execution

    # What the summary stands for is let go of where it continues as new.
    small, large = ({"prompt_tokens": n, "completion_tokens": 0, "total_tokens": n} for n in (10, 200))
    first, many = shell("true") | {"usage": large}, shell(*["true"] * 160) | {"usage": small}
    with ModelEndpoint([first, {"text": "So far.", "usage": small}, many, {"text": "The end."}]) as endpoint:
        queue = stack.queue("scripted")
        stack.worker(queue, OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-test")
        compaction = {"compaction": {"at_tokens": 100}}
        long = stack.agent("long", skills=[SHELL], model_id="gpt-test", configuration=compaction)
        execution = stack.execute("Begin.", agent=long, queue=queue)
        assert stack.wait(execution)["response"] == "The end."
    yield "trimmed", execution


def _teams(stack: Stack) -> Iterator[tuple[str, str]]:
    """(shape, workflow id) of teams, of one of their members, and of what exists in its input alone."""
    one = stack.agent("one", skills=[SHELL])
    two = stack.agent("two", skills=[FILES])
    tasks = {"one": script(shell("true"), {"text": "One."}), "two": script(SAVE, {"text": "Two."})}
    ask = {"tools": [{"name": f"ask_{name}", "arguments": {"task": task}} for name, task in tasks.items()]}
    for mode, prompt in (
        ("coordinate", script(ask, {"text": "Both."})),
        ("route", script({"tools": ask["tools"][:1]})),
        ("collaborate", "hello"),
        ("sequential", script({"text": "In line."})),
    ):
        configuration = {"member_ids": [one, two], "mode": mode, "llm": {"model": "demo"}}
        team = stack.call("POST", "/teams", {"name": mode, "configuration": configuration})["id"]
        request: dict[str, Any] = {"prompt": prompt, "worker_queue_id": "default"}
        execution = stack.call("POST", f"/teams/{team}/execute", request)["execution_id"]
        if mode == "coordinate":
            asked = stack.first(execution, "approval_requested")
            stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
        assert stack.wait(execution)["status"] == "completed"
        yield f"team-{mode}", f"team-execution-{execution}"
        if mode == "coordinate":
            yield "member", f"agent-execution-{execution}.1"
            yield "member-approved", f"agent-execution-{execution}.2"

    entity = {"entity_type": "agent", "name": "passing", "system_prompt": "", "model_id": "demo"}
    request = {"prompt": script({"text": "Hello."}), "worker_queue_id": "default", "entity": entity}
    execution = stack.call("POST", "/dynamic-executions/execute", request)["execution_id"]
    assert stack.wait(execution)["status"] == "completed"
    yield "dynamic", f"dynamic-execution-{execution}"


def _asking(stack: Stack) -> Iterator[tuple[str, str]]:
    """(shape, workflow id) of an agent that asks two others, one at a time, and of one of these."""
    for name in ("left", "right"):
        stack.agent(name, skills=[SHELL, FILES])
    terms = {"allowed_agents": ["left", "right"], "max_concurrent_calls": 1, "inherit_context": True}
    asking = stack.agent("asker", skills=[{"name": "others", "type": "agent_communication", "configuration": terms}])
    tasks = {"left": script(SAVE, {"text": "Saved."}), "right": script(shell("true"), {"text": "Done."})}
    calls = [{"name": "execute_agent", "arguments": {"agent": name, "task": task}} for name, task in tasks.items()]
    execution = stack.execute(script({"tools": calls}, {"text": "Both."}), agent=asking)
    asked = stack.first(execution, "approval_requested")
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    assert stack.wait(execution)["status"] == "completed"
    yield "asking", f"agent-execution-{execution}"
    yield "asked", f"agent-execution-{execution}.1"


def _scheduled(stack: Stack) -> Iterator[tuple[str, str]]:
    """(shape, workflow id) of two runs of a schedule: of an agent, and of a team; and of one whose agent is gone."""
    agent = stack.agent("nightly")
    configuration = {"member_ids": [agent], "mode": "sequential", "llm": {"model": "demo"}}
    team = stack.call("POST", "/teams", {"name": "night-shift", "configuration": configuration})["id"]
    job = {"trigger_type": "cron", "cron_schedule": "@yearly", "prompt_template": script({"text": "All is well."})}
    for shape, kind, entity in (
        ("scheduled", "agent", agent),
        ("scheduled-team", "team", team),
        ("scheduled-gone", "agent", stack.agent("gone")),
    ):
        made = stack.call("POST", "/jobs", {**job, "name": shape, "entity_type": kind, "entity_id": entity})["id"]
        wait_until(partial(due, stack, made), 30, "the schedule is there")
        if shape == "scheduled-gone":
            stack.call("DELETE", f"/agents/{entity}")
        yield shape, tick(stack, made)


async def _histories(address: str, workflow_id: str) -> list[str]:
    """All runs, oldest first, each waited for until it is closed."""
    client = await Client.connect(address)
    first = client.get_workflow_handle(workflow_id)
    try:
        await first.result()
    except Exception as error:  # cancelled or failed: its history is what is wanted
        print(f"{workflow_id}: {type(error).__name__}")
    run_id: str | None = (await first.describe()).raw_description.workflow_execution_info.first_run_id
    texts: list[str] = []
    while run_id:
        history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        texts.append(json.dumps(history.to_json_dict(), separators=(",", ":")))
        last = history.events[-1]
        run_id = last.workflow_execution_continued_as_new_event_attributes.new_execution_run_id or None
    return texts
