"""X3: with a policy service that is down, slow or broken, not one tool runs; each is asked about before it does.

`call_tool` itself, with every tool that an execution can have: the skills', an extension's, an MCP server's, a member
of the team. What would run is replaced by what notes that it ran.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from temporalio.testing import ActivityEnvironment

from kubiya_worker.activities import Runtime
from kubiya_worker.activities.authority import Authorities
from kubiya_worker.activities.tool import ToolActivities
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.models import Endpoint, Models
from kubiya_worker.protocol import calls, names, team
from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol.tools import EFFECTS, ToolSpec
from kubiya_worker.tools.base import ToolContext, ToolResult, Toolset
from kubiya_worker.tools.policy.enforcer import Enforcer
from kubiya_worker.tools.toolset import MODULES, build_toolset
from tests.support.enforcer import ALLOW, HANGS, Answer, EnforcerService, Raw
from tests.support.scripted_plane import ScriptedPlane

CANARY = "kby-canary-4711"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGEMFwBtJXjjoBpEYRt+IizB9PJkO7UcrBpCIoLFJWOh"
HOSTS = {"user": "ops", "agent": True, "hosts": {"web1": {"address": "192.0.2.1", "host_key": HOST_KEY}}}
SKILLS: list[dict[str, Any]] = [
    {"name": "shell", "type": "shell", "configuration": {}},
    {"name": "files", "type": "file_system", "configuration": {}},
    {"name": "python", "type": "python", "configuration": {}},
    {"name": "web", "type": "http", "configuration": {"allowed_hosts": ["*"], "allowed_methods": ["GET", "POST"]}},
    {"name": "reports", "type": "file_generation", "configuration": {}},
    {"name": "diagrams", "type": "data_visualization", "configuration": {}},
    {"name": "engine", "type": "docker", "configuration": {}},
    {"name": "others", "type": "agent_communication", "configuration": {"allowed_agents": "*"}},
    {"name": "sleep", "type": "sleep", "configuration": {}},
    {"name": "ask", "type": "ask_person", "configuration": {}},
    {"name": "hosts", "type": "ssh", "configuration": HOSTS},
    {"name": "guides", "type": "agent_skills", "configuration": {"path": str(Path(__file__).with_name("skills"))}},
]
FURTHER = [
    ToolSpec("mcp__tracker__list", "", source="mcp", taints=True, effects=EFFECTS, origin="tracker/list"),
    ToolSpec("ticket_status", "", source="custom", idempotent=True),
]
MEMBER = {"tool": "ask_logs", "kind": "agent", "id": "a-2", "name": "logs", "description": "", "queue": ""}
SPECS = [*build_toolset(SKILLS, workspace=Path("/nowhere")).specs, *FURTHER, team.spec_of(MEMBER)]


def test_every_skill_is_in_the_suite() -> None:
    here = {skill["type"] for skill in SKILLS} | {"custom"}  # an extension's tool is in FURTHER
    assert {module.TYPES[0] for module in MODULES} <= here


class Noting:
    """A tool that only notes that it ran."""

    def __init__(self, spec: ToolSpec) -> None:
        self.spec = spec
        self.runs = 0

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        self.runs += 1
        return ToolResult("done")


class Bench:
    """A worker's side of `call_tool`: a control plane that takes events, and the enforcer at `url`."""

    def __init__(self, plane: ScriptedPlane, folder: Path, url: str, timeout: float) -> None:
        self.plane = plane
        self.tools = {spec.name: Noting(spec) for spec in SPECS if spec.name != MEMBER["tool"]}
        self.runtime = Runtime(
            control_plane=ControlPlane(plane.url, "key", features=frozenset({names.FEATURE_EVENTS_BATCH})),
            temporal=cast(Any, None),
            models=Models(Endpoint()),
            workspace_root=folder,
            worker_id="w-1",
            secrets=(CANARY,),
            enforcer=Enforcer(url, timeout=timeout),
        )
        self.runtime.memory.environments.put("e-1", {})

    def context(self, **fields: Any) -> None:
        tools = [spec.wire() for spec in SPECS]
        context = calls.Context("a-1", agent_name="ops", tools=tools, members=[MEMBER], **fields)
        self.runtime.memory.contexts.put("e-1", context)
        self.runtime.authorities = Authorities(self.runtime.control_plane, clock=lambda: 0.0)  # nothing gets old
        self.runtime.authorities.learn(context, 0.0)

    async def call(self, spec: ToolSpec, grant: calls.Grant | None = None, **about: Any) -> calls.ToolOutcome:
        authority = await self.runtime.authorities.of(self.runtime.memory.contexts.get("e-1") or calls.Context("a-1"))
        self.runtime.memory.toolsets.put("e-1", ((0, authority.version), Toolset(self.tools.values())))
        text = m.canonical({**_arguments(spec), **about.pop("arguments", {})})
        asked = calls.ToolInput("e-1", f"t-{spec.name}", spec.name, "m-1", 1, arguments=text, grant=grant, **about)
        return await ActivityEnvironment().run(ToolActivities(self.runtime).call_tool, asked)

    async def all(self, **about: Any) -> dict[str, calls.ToolOutcome]:
        outcomes = await asyncio.gather(*(self.call(spec, **about) for spec in SPECS))
        return {spec.name: outcome for spec, outcome in zip(SPECS, outcomes, strict=True)}

    async def close(self) -> None:
        await self.runtime.close()
        self.runtime.control_plane.close()

    def ran(self) -> set[str]:
        return {name for name, tool in self.tools.items() if tool.runs}

    def events(self) -> list[dict[str, Any]]:
        return [event for seen in self.plane.requests("/events/batch") for event in seen.body["events"]]


def _arguments(spec: ToolSpec) -> dict[str, Any]:
    properties = spec.parameters.get("properties", {})
    return {name: _value(properties[name]) for name in spec.parameters.get("required", ())}


def _value(schema: dict[str, Any]) -> Any:
    """Return a value that fits the schema."""
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "array":
        return [_value(schema.get("items", {}))] * int(schema.get("minItems", 0))
    return {"integer": 1, "number": 1, "boolean": True, "object": {}}.get(str(schema.get("type")), "x")


@pytest.fixture
def plane() -> Iterator[ScriptedPlane]:
    with ScriptedPlane() as running:
        yield running


@pytest.fixture
def service() -> Iterator[EnforcerService]:
    with EnforcerService() as running:
        yield running


Make = Callable[..., Bench]


@pytest.fixture
async def make(plane: ScriptedPlane, service: EnforcerService, tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Bench] = []

    def bench(timeout: float = 30) -> Bench:
        made.append(Bench(plane, tmp_path, service.url, timeout))
        return made[-1]

    yield bench
    for each in made:
        await each.close()


async def test_a_yes_lets_every_tool_run_and_each_was_asked_about(make: Make, service: EnforcerService) -> None:
    bench = make()
    bench.context()
    outcomes = await bench.all()
    assert bench.ran() == set(bench.tools) - {"ask_person", "delete_file"}
    assert outcomes["delete_file"].approval is not None  # a person decides where no rule of the plane allows it
    assert outcomes["ask_person"].approval is not None  # a question is a person's, whatever is allowed
    assert outcomes["ask_logs"].delegation is not None
    assert sorted(q["tool"]["name"] for q in service.questions) == sorted(spec.name for spec in SPECS)
    for event in bench.events():
        told = event["data"]["enforcement"]
        assert (told["decision"], told["id"], told["allow"]) == ("allowed", "decision-1", True)
        assert told["latency_ms"] > 0


DOWN: dict[str, Answer | None] = {
    "down": None,
    "slow": Raw(b'{"allow": true}', delay=HANGS),
    "500": Raw(b'{"allow": true}', status=500),
    "garbage": Raw(b"\x00\xff<html>"),
    "wrong json": {"allowed": True},
    "redirect": Raw(status=307, headers={"Location": "http://127.0.0.1:9/enforce"}),
    "dropped": Raw(drop=True),
}


@pytest.mark.parametrize("answer", DOWN.values(), ids=DOWN.keys())
async def test_without_a_clear_yes_nothing_runs(make: Make, service: EnforcerService, answer: Answer | None) -> None:
    slow = isinstance(answer, Raw) and answer.delay > 0
    bench = make(0.5 if slow else 30)
    bench.context()
    if answer is None:
        service.stop()
    else:
        service.answer = answer
    outcomes = await bench.all()
    assert bench.ran() == set()
    for name, outcome in outcomes.items():
        assert outcome.approval is None and outcome.delegation is None and outcome.message is not None, name
        assert outcome.message["status"] == m.TOOL_DENIED, name
        assert outcome.message["content"].startswith("Refused: the policy service could not be asked ("), name
    events = bench.events()
    assert len(events) == 2 * len(SPECS)  # tool_started, tool_completed
    for event in events:
        told = event["data"]["enforcement"]
        assert told["decision"] == "denied" and told["fault"] and told["policies"] == []


async def test_a_no_names_its_policy_in_the_answer_and_in_the_event(make: Make, service: EnforcerService) -> None:
    service.answer = {"allow": False, "id": "d-1", "policies": ["prod-freeze"]}
    bench = make()
    bench.context()
    outcomes = await bench.all()
    assert bench.ran() == set()
    texts = {outcome.message["content"] for outcome in outcomes.values() if outcome.message}
    assert texts == {"Denied by policy: denied by the policy service (prod-freeze)"}
    assert {tuple(e["data"]["enforcement"]["policies"]) for e in bench.events()} == {("prod-freeze",)}


async def test_an_approval_that_the_service_wants_runs_with_a_grant_for_these_arguments_only(
    make: Make, service: EnforcerService
) -> None:
    service.answer = {"allow": False, "approval_required": True, "policies": ["two-eyes"]}
    bench = make()
    bench.context()
    for spec in SPECS:
        asked = (await bench.call(spec)).approval
        assert asked is not None and "two-eyes" in asked.reason
        assert asked.enforcement["decision"] == "needs_approval" and asked.enforcement["policies"] == ["two-eyes"]
        other = await bench.call(spec, calls.Grant("ap-1", "another hash", "ann"))
        assert other.message is not None and other.message["status"] == m.TOOL_DENIED
    assert bench.ran() == set()
    for spec in SPECS:
        asked = (await bench.call(spec)).approval
        assert asked is not None
        await bench.call(spec, calls.Grant("ap-1", asked.arguments_hash, "ann"))
    assert bench.ran() == set(bench.tools)
    told = bench.events()[-1]["data"]["enforcement"]
    assert (told["decision"], told["approval_id"], told["approver"]) == ("allowed", "ap-1", "ann")
    assert service.questions[-1]["metadata"]["approval"] == {"approval_id": "ap-1", "approver": "ann"}


@pytest.mark.parametrize("answer", [{"allow": False, "policies": ["p"]}, Raw(status=500)], ids=["no", "broken"])
async def test_a_persons_yes_does_not_overcome_the_service(
    make: Make, service: EnforcerService, answer: Answer
) -> None:
    service.answer = answer
    bench = make()
    bench.context(rules=[{"id": "r", "scope_type": "all", "action": "ask"}])
    for spec in SPECS:
        granted = calls.Grant("ap-1", m.arguments_hash(spec.name, _arguments(spec)), "ann")
        outcome = await bench.call(spec, granted)
        assert outcome.message is not None and outcome.message["status"] == m.TOOL_DENIED
    assert bench.ran() == set()


async def test_the_strictest_word_counts(make: Make, service: EnforcerService) -> None:
    bench = make()
    denied = {"id": "r-1", "name": "no tools", "scope_type": "all", "action": "deny"}
    bench.context(rules=[denied])
    outcomes = await bench.all()
    assert service.questions == [] and bench.ran() == set()  # what is denied here need not be asked there
    assert {o.message["status"] for o in outcomes.values() if o.message} == {m.TOOL_DENIED}
    assert bench.events()[-1]["data"]["enforcement"]["rule_id"] == "r-1"
    asks = {"action": "ask", "approver_type": "user_emails", "approver_value": "a@b.c", "require_reason": True}
    bench.context(rules=[{**denied, **asks}])
    service.answer = {"allow": True, "approval_required": True, "policies": ["two-eyes"]}
    asked = (await bench.call(SPECS[0])).approval
    assert asked is not None and asked.approver_emails == ["a@b.c"]
    assert "no tools" in asked.reason and "two-eyes" in asked.reason
    assert asked.enforcement["require_reason"] is True
    bench.context(rules=[{**denied, "action": "allow"}])
    service.answer = {"allow": False}
    await bench.all()
    assert bench.ran() == set()


async def test_the_hosts_own_rules_and_those_of_the_control_plane_do_not_lift_each_other(make: Make) -> None:
    bench = make()
    denies = {"name": "host", "scope_type": "tool", "scope_value": "shell", "action": "deny"}
    bench.runtime.rules = [denies]
    bench.context(rules=[{"id": "r-1", "scope_type": "all", "action": "allow", "priority": 99}])
    outcomes = await bench.all()
    assert bench.ran() == set(bench.tools) - {"shell", "ask_person"}
    message = outcomes["shell"].message
    assert message is not None and message["content"] == "Denied by policy: denied by the rule host"
    shell = next(spec for spec in SPECS if spec.name == "shell")
    for here, there, kind in (("ask", "allow", "ask"), ("allow", "ask", "ask"), ("allow", "deny", "deny")):
        bench.runtime.rules = [{**denies, "action": here}]
        bench.context(rules=[{"id": "r-1", "scope_type": "all", "action": there}])
        outcome = await bench.call(shell)
        assert (outcome.approval is not None) == (kind == "ask")
    assert "shell" not in bench.ran()


async def test_the_workers_own_key_is_not_told_to_the_service_nor_shown_when_it_comes_back(
    make: Make, service: EnforcerService
) -> None:
    service.answer = {"allow": False, "id": CANARY, "policies": [f"no-{CANARY}"], "reason": CANARY}
    bench = make()
    bench.context()
    shell = next(spec for spec in SPECS if spec.name == "shell")
    outcome = await bench.call(shell, arguments={"command": f"echo {CANARY}"})
    seen = m.canonical([service.questions, bench.events(), outcome.message])
    assert "echo" in seen and CANARY not in seen


async def test_arguments_that_do_not_fit_and_unknown_tools_are_answered_without_asking(
    make: Make, service: EnforcerService
) -> None:
    bench = make()
    bench.context()
    unknown = await bench.call(ToolSpec("no_such_tool", ""))
    wrong = await bench.call(SPECS[0], arguments={"command": 7, "surprise": 1})
    assert unknown.message is not None and wrong.message is not None
    assert service.questions == [] and bench.ran() == set()
    assert ALLOW["allow"] is True
