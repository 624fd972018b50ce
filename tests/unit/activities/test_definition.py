"""These tests make agents and teams over the API, and look at what their executions begin with at the worker."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from kubiya_worker.activities.definition import Definition, context_for, load, one_answer_tells
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.protocol import calls
from kubiya_worker.protocol import dynamic as dynamic_input
from kubiya_worker.protocol import execution as ex
from kubiya_worker.tools import mcp
from tests.support.api import Api, Object


class Served:
    """The worker's client as far as a definition needs it, over the routes themselves."""

    def __init__(self, api: Api) -> None:
        self._api, self.contexts, self.definitions = api, self, self

    def execution_context(self, execution_id: str, entity_id: str, kind: str) -> Object:
        return dict(self._api.call("GET", f"/executions/{execution_id}/context"))

    def execution_parts(self, execution_id: str) -> Object:
        return {"execution": {}, "approval_rules": [], "session": None}

    def environment(self, kind: str, entity_id: str, execution_id: str) -> Object:
        return {}

    def skill(self, skill_id: str) -> Object:
        return {"id": skill_id, "name": skill_id, "type": "shell", "enabled": True, "configuration": {}}

    def agent(self, key: str) -> Object:
        answer = self._api.ask("GET", f"/agents/{key}")
        return dict(answer.json()) if answer.status_code == 200 else {}

    def team(self, key: str) -> Object:
        answer = self._api.ask("GET", f"/teams/{key}")
        return dict(answer.json()) if answer.status_code == 200 else {}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(tmp_path_factory.mktemp("api")) as running:
        yield running


def begun(api: Api, raw: Object) -> tuple[Definition, calls.Context]:
    given = ex.ExecutionInput.parse(raw)
    found = load(cast(ControlPlane, Served(api)), given)
    return found, context_for(given, found)


def of_agent(api: Api, configuration: Object, **fields: Any) -> tuple[Definition, calls.Context]:
    agent = api.agent(configuration=configuration, **fields)["id"]
    return begun(api, api.input_of(api.execute(agent)))


def of_team(api: Api, **configuration: Any) -> tuple[Definition, calls.Context]:
    configuration.setdefault("member_ids", ["ops"])
    team = api.call("POST", "/teams", {"name": f"t-{uuid.uuid4()}", "configuration": configuration})["id"]
    told = api.call("POST", f"/teams/{team}/execute", {"prompt": "x", "worker_queue_id": "default"})
    return begun(api, api.input_of(told["execution_id"]))


def of_entity(api: Api, **entity: Any) -> tuple[Definition, calls.Context]:
    body = {"prompt": "x", "worker_queue_id": "default", "entity": entity}
    raw = api.input_of(api.call("POST", "/dynamic-executions/execute", body)["execution_id"])
    return begun(api, dynamic_input.loop_input(raw))


def test_an_agents_configuration_reaches_its_run(api: Api) -> None:
    servers = {"wiki": {"command": "wiki"}}
    more = {"tickets": {"url": "https://tickets.example"}}
    budgets = {
        "max_steps": 3,
        "max_tokens": 4,
        "max_seconds": 5.5,
        "max_depth": 2,
        "max_cost_usd": 0.5,
        "on_limit": "ask",
    }
    found, context = of_agent(
        api,
        {
            **{"budgets": budgets, "cwd": "/srv", "taint": "ask", "instructions": "Be brief.", "compaction": False},
            **{"mcp_servers": servers, "mcpServers": more, "fallback_models": ["m-2"], "on_unsupported_skill": "fail"},
            "response_format": {"type": "json_object"},
        },
    )
    limits = ex.Budgets.parse(context.config)
    assert {name: getattr(limits, name) for name in budgets} == budgets
    assert (context.workspace, context.taint, context.system_prompt) == ("/srv", "ask", "Be brief.")
    # The worker asks for them where it needs them: what the context holds is in the history.
    assert mcp.of_environment(found.environment) == {**servers, **more} and context.mcp_servers == {}
    for name in ("compaction", "fallback_models", "on_unsupported_skill", "response_format"):
        assert name in found.config  # test_loop, test_attempts, test_compaction and test_structured go on from here
    assert ex.Budgets.parse(of_agent(api, {"max_turns": 7})[1].config).max_steps == 7


def test_the_lists_of_tools_become_rules_that_deny(api: Api) -> None:
    _, context = of_agent(api, {"allowed_tools": ["shell"], "disallowed_tools": ["tickets_*"]})
    denied = {(r["name"], r["scope_value"]) for r in context.denials}
    assert denied == {("allowed_tools", "shell"), ("disallowed_tools", "tickets_*")}
    found, _ = of_agent(api, {"disallowed_tools": ["Bash"]})
    assert found.failure is not None and "Bash" in found.failure.line()


def test_a_restriction_of_another_control_plane_stops_the_run_by_its_name(api: Api) -> None:
    raw = api.input_of(api.execute())
    found, _ = begun(api, {**raw, "agent_config": {"permission_mode": "plan"}})
    assert found.failure is not None and "permission_mode 'plan'" in found.failure.line()


def test_a_teams_configuration_reaches_its_run(api: Api) -> None:
    leader = api.agent(system_prompt="You lead.", llm_config={"top_p": 0.5, "temperature": 1})["id"]
    queue = api.call("POST", "/environments/default/worker-queues", {"name": "members"})["id"]
    found, context = of_team(
        api,
        mode="sequential",
        leader_id=leader,
        member_ids=["ops", "triage"],
        member_queues={"ops": "members"},
        member_timeout=7,
        instructions=["One.", "Two."],
        llm={"model": "m-1", "temperature": 0.1},
    )
    assert (found.mode, context.member_timeout, found.model_id) == ("sequential", 7, "m-1")
    assert [(m["name"], m["kind"], m["queue"]) for m in found.members] == [
        ("ops", "agent", queue),
        ("triage", "team", ""),
    ]
    assert context.system_prompt.startswith("You lead.\n\nOne.\nTwo.")
    assert context.model_config == {"temperature": 0.1, "top_p": 0.5}


def test_an_entity_of_one_request_has_members_of_its_own(api: Api) -> None:
    member = {"name": "logs", "description": "Reads logs", "prompt": "Read.", "model": "m-2", "tools": ["shell"]}
    found, _ = of_entity(api, skill_ids=["s-1"], subagents=[{"id": "one", **member}])
    (one,) = found.members
    assert (one["name"], one["description"]) == ("logs", "Reads logs")
    definition = one["definition"]
    assert (definition["system_prompt"], definition["model_id"]) == ("Read.", "m-2")
    assert definition["configuration"] == {"allowed_tools": ["shell"]}
    assert [skill["id"] for skill in definition["skills"]] == ["s-1"]
    found, _ = of_entity(api, configuration={"runtime_config": {"agents": {"reader": {"prompt": "Read."}}}})
    assert [(m["name"], m["definition"]["system_prompt"]) for m in found.members] == [("reader", "Read.")]


def test_a_subagent_has_no_other_tools_than_those_that_it_names(api: Api) -> None:
    member = {"name": "logs", "prompt": "Read.", "tools": ["shell"]}
    found, _ = of_entity(api, subagents=[member])
    about = ex.Member(
        stream="e",
        name="logs",
        path=["logs"],
        parent_message_id="m",
        parent_tool_execution_id="t",
        leader="l",
        root="r",
    )
    raw = {"execution_id": "e", "agent_id": "a", "prompt": "x", "definition": found.members[0]["definition"]}
    given = ex.ExecutionInput.parse({**raw, "member": vars(about)})
    rules = load(cast(ControlPlane, Served(api)), given).denials
    assert [(rule["action"], rule["scope_value"]) for rule in rules] == [("deny", "shell")]


def test_one_answer_of_the_control_plane_is_all_of_an_agents_definition(api: Api) -> None:
    agent = api.agent(system_prompt="Be short.")["id"]
    given = ex.ExecutionInput.parse(api.input_of(api.execute(agent)))
    told = api.call("GET", f"/executions/{given.execution_id}/context")
    assert one_answer_tells(given)
    nobody = cast(ControlPlane, None)  # nothing else is asked
    assert load(nobody, given, told) == load(cast(ControlPlane, Served(api)), given)
    member = ex.Member("s", "m", ["m"], "message", "call", leader="l", root="r")
    others: list[Object] = [{"kind": "team"}, {"definition": {}}, {"member": member}]
    assert not any(one_answer_tells(replace(given, **other)) for other in others)
