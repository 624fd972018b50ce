"""These tests give each value of each answer of a control plane many other forms.

The worker goes on, or refuses by name with a remedy. Anything else would be a traceback, or a run that is begun for
ever, as an activity that breaks is tried again.
"""

from __future__ import annotations

import copy
import datetime
import gzip
import json
import logging
from collections.abc import Callable, Iterator
from email.utils import format_datetime
from typing import Any, Final

import pytest

from kubiya_worker.activities import approval, definition
from kubiya_worker.activities.begin import _earlier
from kubiya_worker.control_plane import errors, writes
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.errors import ConfigurationError, WorkerError
from kubiya_worker.models import structured
from kubiya_worker.process import queue_settings
from kubiya_worker.process.single_execution import Sightings
from kubiya_worker.process.wishes import Wish
from kubiya_worker.protocol import execution as ex
from kubiya_worker.protocol import names
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.settings import Settings
from kubiya_worker.tools.policy import restrictions, rules
from tests.support.provider_wires import JSON, Wire, WireServer

MISSING: Final = object()
ODD: Final[tuple[Any, ...]] = (
    *(None, "", "x", "5", "true", "{}", "[]", 0, 1, -1, 1.5, 10**400, True, False, [], {}),
    *([None], ["x"], [[]], [{}], {"a": None}, {"id": None}, "y" * 10_000, "\U0001f600", "a\ufffd"),
)

AGENT = {
    "id": "a1",
    "name": "ops",
    "system_prompt": "Be brief.",
    "model_id": "demo",
    "llm_config": {"temperature": 0.5},
    "configuration": {"taint": "off", "budgets": {"max_steps": 3}, "allowed_tools": ["shell"]},
}
TEAM = {
    "id": "t1",
    "name": "crew",
    "description": "d",
    "configuration": {"leader": {"id": "a1"}, "member_ids": ["a1"], "mode": "coordinate", "llm": {"model": "x"}},
    "agents": [{"id": "a1", "name": "ops"}],
}
SKILLS = [
    {"id": "s1", "name": "shell", "type": "shell", "enabled": True, "configuration": {"allowed_commands": ["ls"]}}
]
ENVIRONMENT = {"system_prompt": "x", "env_vars": {"A": "b"}, "mcp_servers": {"m": {"command": "x", "args": ["y"]}}}
RULES = [
    {"id": "r1", "name": "r", "scope_type": "tool", "scope_value": "shell", "action": "ask", "priority": 1},
    {
        "id": "r2",
        "scope_type": "all",
        "action": "deny",
        "enabled": True,
        "argument_pattern": "rm",
        "timeout_minutes": 5,
    },
]
EXECUTION = {"id": "e1", "status": "running", "execution_metadata": {"a": 1}}
SESSION = {
    "messages": [
        {"role": "user", "content": "hi", "message_id": "e1_user_1", "timestamp": "2026-01-01T00:00:00Z"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "name": "shell", "arguments": "{}"}]},
        {"role": "tool", "content": "r", "tool_call_id": "c", "tool_name": "shell", "status": "success"},
    ]
}
APPROVAL = {
    "id": "a1",
    "status": "approved",
    "expires_at": "2026-01-01T00:00:00.123456789Z",
    "resolved_at": "2026-01-01T00:00:00",
    "enforcement_context": {"approval_key": "k"},
}
WISH = {"action": "drain", "by": {"name": "ann"}, "reason": "r"}
REGISTRATION = {
    "worker_id": "w1",
    "task_queue_name": "q1",
    "temporal_namespace": "default",
    "temporal_host": "127.0.0.1:7233",
    "temporal_api_key": "",
    "temporal_tls": True,
    "heartbeat_interval": 30,
    "queue_ephemeral": False,
    "queue_single_execution": False,
    "features": ["batch"],
    "wish": WISH,
}
LIST = [
    {
        "model_name": "m",
        "litellm_params": {"model": "openai/x", "api_base": "http://x/v1", "extra_headers": {"a": "b"}},
        "compatibility": {"stream": False},
    },
    {"model_name": "s", "litellm_params": {"model": "openai/x"}, "model_info": {"id": "1", "origin": "stored"}},
]
QUEUE = {
    "settings": {"enable_local_litellm_proxy": True, "litellm_config": {"model_list": LIST}},
    "recommended_package_version": "0.0.1",
}


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*at, key))


def variants(good: Any) -> Iterator[tuple[str, Any]]:
    """Yield (what is changed, the shape with this one change)."""
    for at in places(good):
        for odd in (*ODD, MISSING) if at else ODD:
            changed = copy.deepcopy(good)
            inner = changed
            for key in at[:-1]:
                inner = inner[key]
            if not at:
                changed = odd
            elif odd is MISSING:
                del inner[at[-1]]
            else:
                inner[at[-1]] = odd
            yield f"{'.'.join(map(str, at)) or 'all'} = {'nothing' if odd is MISSING else repr(odd)[:40]}", changed


def plane(answer: Callable[[str], Any], *features: str) -> ControlPlane:
    """A client whose answers are `answer(path)`."""
    client = ControlPlane("http://plane.test", "key", features=frozenset(features))

    def call(method: str, url: str, body: Any = None, **_: Any) -> Any:
        return copy.deepcopy(answer(url.partition("/api/v1")[2].partition("?")[0]))

    client._wire.call = call  # type: ignore[method-assign]
    return client


def always(value: Any, *features: str) -> ControlPlane:
    return plane(lambda _: value, *features)


def begins(kind: str, **parts: Any) -> definition.Definition:
    """Load a definition from these answers, as the beginning of an execution does, and use it as that does."""
    told = {
        "/agents/a1": AGENT,
        "/teams/t1": TEAM,
        f"/skills/associations/{kind}s/{kind[0]}1/skills/resolved": SKILLS,
        f"/execution-environment/{kind}s/{kind[0]}1/resolved/full": ENVIRONMENT,
        "/approval-rules": RULES,
        "/executions/e1": EXECUTION,
        "/executions/e1/session": SESSION,
        **parts,
    }
    raw = {"execution_id": "e1", f"{kind}_id": f"{kind[0]}1", "prompt": "hi"}
    given = ex.ExecutionInput.parse(raw)
    found = definition.load(plane(told.get), given)
    if found.failure is not None:
        raise found.failure
    definition.context_for(given, found)
    dict(found.execution.get("execution_metadata") or {})
    _earlier(found.session, {"message_id": "e1_user_9"}, shared=False)
    return found


def registers(value: Any) -> Registration:
    found = always(value).start_worker("q1", sdk_version="1", system_info={})
    assert type(found.heartbeat_interval) is int and type(found.queue_ephemeral) is bool
    assert all(isinstance(text, str) for text in (found.worker_id, found.temporal_host, *found.features))
    Wish.parse(found.wish)
    return found


def configures(value: Any) -> None:
    config = queue_settings.read(always(value).queues, "q1")
    queue_settings.routing_of(config, Settings(queue_id="q1", api_key="key"), {}, {})
    queue_settings.warn_if_outdated(config, frozenset({"x"}))


STATUS = writes.execution("e1", status="running")
BATCHES = (names.FEATURE_BATCH, names.FEATURE_EVENTS_BATCH)


def writes_groups(groups: list[list[writes.Write]], value: Any) -> None:
    outcomes = always(value, *BATCHES).write_requests.groups(groups)
    assert len(outcomes) == len(groups)
    for outcome in outcomes:
        if isinstance(outcome, errors.ControlPlaneError):
            assert outcome.message
        else:
            assert all(isinstance(one, dict) for one in outcome)


def decides(value: Any) -> None:
    spec = ToolSpec("shell", "x", {"type": "object"})
    if isinstance(value, list):
        rules.decide(spec, {"command": "rm"}, value)


def of_object(read: Callable[[dict[str, Any]], Any]) -> Callable[[Any], Any]:
    return lambda value: read(value) if isinstance(value, dict) else None


FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
RESTRICTED = {"allowed_tools": ["shell"], "disallowed_tools": ["x"], "permission_mode": "default"}

SHAPES: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "registration": (REGISTRATION, registers),
    "heartbeat": ({"wish": WISH}, lambda v: Wish.parse(always(v, names.FEATURE_WISHES).heartbeat("w", {}).get("wish"))),
    "queue configuration": (QUEUE, configures),
    "queue executions": (
        {"executions": [EXECUTION]},
        lambda v: Sightings().update(always(v).queues.executions("q1")),
    ),
    "agent": (AGENT, lambda v: begins("agent", **{"/agents/a1": v})),
    "skills": (SKILLS, lambda v: begins("agent", **{"/skills/associations/agents/a1/skills/resolved": v})),
    "environment": (ENVIRONMENT, lambda v: begins("agent", **{"/execution-environment/agents/a1/resolved/full": v})),
    "rules of an agent": (RULES, lambda v: begins("agent", **{"/approval-rules": v})),
    "execution": (EXECUTION, lambda v: begins("agent", **{"/executions/e1": v})),
    "session": (SESSION, lambda v: begins("agent", **{"/executions/e1/session": v})),
    "team": (TEAM, lambda v: begins("team", **{"/teams/t1": v})),
    "leader and member": (AGENT, lambda v: begins("team", **{"/agents/a1": v})),
    "rules": (RULES, decides),
    "restrictions": (RESTRICTED, of_object(restrictions.rules_of)),
    "authority": (
        {"rules": RULES, "skills": SKILLS, "stopped": {"by": {"name": "ann"}, "at": "t", "reason": "r"}},
        lambda v: [
            skill.get("id")
            for skill in always(v, names.FEATURE_AUTHORITY).contexts.authority("agent", "a1").get("skills") or ()
        ],
    ),
    "session of a turn": (SESSION, lambda v: [m.get("message_id") for m in always(v).session_messages("e1")]),
    "approval": (APPROVAL, lambda v: approval.answer("a1", always(v).approvals.get("a1"), NOW)),
    "approvals": ([APPROVAL], lambda v: [row.get("id") for row in always(v).approvals.of("e1")]),
    "write": ({"id": "e1", "success": True}, lambda v: always(v).write_requests.one(STATUS)),
    "batch": ({"answers": [{"id": "e1"}, {"id": "e1"}]}, lambda v: writes_groups([[STATUS, STATUS]], v)),
    "batch of groups": (
        {"groups": [{"answers": [{"id": "e1"}, {"id": "e1"}]}, {"status": 422, "detail": "x"}]},
        lambda v: writes_groups([[STATUS, STATUS], [STATUS]], v),
    ),
    "found agents": ([AGENT], lambda v: always(v).definitions.find("agent", "ops")),
    "approvals waiting": ({"approvals_waiting": 1}, lambda v: always(v).queues.approvals_waiting("q1")),
}


@pytest.mark.parametrize("name", SHAPES)
def test_each_odd_value_is_read_or_refused_by_name(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    good, read = SHAPES[name]
    read(copy.deepcopy(good))
    broken = []
    for what, value in variants(good):
        try:
            read(value)
        except WorkerError as error:
            if not error.message or "cannot be read" in error.message:  # the net below all readers
                broken.append(f"{what}: {error.message}")
        except Exception as error:
            broken.append(f"{what}: {type(error).__name__}: {error}")
    assert broken == []


@pytest.mark.parametrize("value", [{}, [], 5, True, "x", [{}], {"type": [{}]}, {"type": {}}])
def test_a_response_format_that_is_none_is_refused(value: Any) -> None:
    for asked in (value, {**FORMAT, "json_schema": {"name": "x", "schema": value}}):
        try:
            structured.requested_format({"response_format": asked})
        except ValueError as error:
            assert "response_format" in str(error)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, True), (None, True), (1, True), ("true", True), (False, False), (0, False), ("false", False), ("0", False)],
)
def test_a_skill_is_on_unless_its_flag_says_otherwise(value: Any, expected: bool) -> None:
    skills = [{**SKILLS[0], "enabled": value}]
    found = begins("agent", **{"/skills/associations/agents/a1/skills/resolved": skills})
    assert bool(found.skills) == expected


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"configuration": ["x"]}, "`configuration` of the agent 'a1' is a list, not an object"),
        ({"llm_config": "x"}, "`llm_config` of the agent 'a1' is a text, not an object"),
        ({"llm_config": True}, "`llm_config` of the agent 'a1' is true or false, not an object"),
    ],
)
def test_a_configuration_that_is_none_is_named(fields: dict[str, Any], told: str) -> None:
    """It may restrict the agent, so it must not be taken for an empty one."""
    with pytest.raises(ConfigurationError) as caught:
        begins("agent", **{"/agents/a1": {**AGENT, **fields}})
    assert caught.value.line() == f"{told}. Correct it at the control plane"


def test_a_rule_that_is_no_object_asks_for_every_call() -> None:
    found = begins("agent", **{"/approval-rules": ["x"]})
    assert all(isinstance(rule, dict) for rule in found.rules)  # the history takes nothing else
    assert rules.decide(ToolSpec("shell", "x", {"type": "object"}), {}, found.rules).kind == "ask"


@pytest.mark.parametrize("name", ["system_prompt", "model_id"])
def test_an_input_that_names_no_text_is_refused(name: str) -> None:
    raw = {"execution_id": "e1", "agent_id": "a1", "prompt": "hi", name: ["x"]}
    with pytest.raises(ValueError, match=f"{name} of the execution's input is not a text"):
        ex.ExecutionInput.parse(raw)


def test_a_configuration_that_came_as_text_is_read() -> None:
    found = begins("agent", **{"/agents/a1": {**AGENT, "configuration": json.dumps(AGENT["configuration"])}})
    assert found.denials


def test_a_registration_is_read_in_other_forms() -> None:
    odd = {
        **REGISTRATION,
        "worker_id": 7,
        "heartbeat_interval": "45",
        "queue_ephemeral": "false",
        "queue_single_execution": 1,
        "temporal_tls": "0",
        "temporal_host": " t.example:7233\n",
        "features": ["a", None, 5],
    }
    found = registers(odd)
    assert (found.worker_id, found.heartbeat_interval, found.temporal_host) == ("7", 45, "t.example:7233")
    assert (found.queue_ephemeral, found.queue_single_execution, found.temporal_tls) == (False, True, False)
    assert found.features == ("a",)


def test_ids_that_are_none_of_ours_stay_in_their_place_of_the_path() -> None:
    asked: list[str] = []
    client = plane(lambda path: asked.append(path))
    client.heartbeat("w/../1 ?", {})
    client.disconnect("w/../1 ?", reason="r")
    client.approvals.get("a/1#")
    client.approvals.expire("a/1#")
    assert asked == [
        "/workers/w%2F..%2F1%20%3F/heartbeat",
        "/workers/w%2F..%2F1%20%3F/disconnect",
        "/approvals/a%2F1%23",
        "/approvals/a%2F1%23/expire",
    ]


# -- bytes

PAGE = Wire("<html><head><title>Sign in</title></head></html>", headers={"Content-Type": "text/html"})
TEXT = json.dumps(REGISTRATION)

TAKEN = {
    "in chunks": Wire([TEXT[:20], TEXT[20:]], headers=JSON),
    "gzip": Wire(gzip.compress(TEXT.encode()), headers={**JSON, "Content-Encoding": "gzip"}),
    "with a byte order mark": Wire(TEXT.encode("utf-8-sig"), headers=JSON),
    "as text": Wire(TEXT, headers={"Content-Type": "text/plain"}),
    "with characters that nothing can store": Wire(
        TEXT.replace('"features"', '"queue_name": "a\\ud83d\\u0000", "features"'), headers=JSON
    ),
}
NOT_JSON = "Is this URL a Kubiya control plane?"
NOT_TAKEN: dict[str, tuple[Wire, type[WorkerError], str]] = {
    "an empty answer": (Wire("", headers=JSON), errors.Refused, NOT_JSON),
    "204": (Wire("", 204), errors.Refused, NOT_JSON),
    "a page": (PAGE, errors.Refused, NOT_JSON),
    "a list": (Wire("[]", headers=JSON), errors.Refused, NOT_JSON),
    "nested without end": (Wire("[" * 200_000, headers=JSON), errors.Refused, NOT_JSON),
    "a number without end": (Wire("9" * 10_000, headers=JSON), errors.Refused, NOT_JSON),
    "no gzip": (Wire("xxxxxxxxxx", headers={**JSON, "Content-Encoding": "gzip"}), errors.Unreachable, ""),
    "302": (Wire("", 302, {"Location": "https://login.example/"}), errors.Refused, "Set CONTROL_PLANE_URL"),
    "413": (Wire("too large", 413), errors.Refused, ""),
    "401": (Wire({"detail": {"error": "Unauthorized"}}, 401, JSON), errors.Unauthorized, "KUBIYA_API_KEY"),
    "503 with a page": (Wire(PAGE.body, 503, PAGE.headers), errors.Unreachable, "It is tried again"),
    "422 with odd details": (Wire({"detail": [None, 5, {"loc": None, "msg": []}]}, 422, JSON), errors.Refused, ""),
}


@pytest.mark.parametrize("name", TAKEN)
def test_an_answer_is_taken(name: str) -> None:
    with WireServer([TAKEN[name]]) as server:
        found = ControlPlane(server.root, "key").start_worker("q1", sdk_version="1", system_info={})
    assert found.worker_id == "w1"
    found.queue_name.encode()


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_an_answer_is_refused_in_one_line(name: str) -> None:
    wire, kind, remedy = NOT_TAKEN[name]
    with WireServer([wire]) as server, pytest.raises(WorkerError) as caught:
        ControlPlane(server.root, "key").start_worker("q1", sdk_version="1", system_info={})
    assert type(caught.value) is kind
    assert remedy in caught.value.line() and "\n" not in caught.value.line() and len(caught.value.line()) < 700


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("7", (7, 7)),
        ("7.5", (7.5, 7.5)),
        ("in 90 s", (30, 95)),
        ("Wed, 21 Oct 2015 07:28:00 GMT", (0, 0)),
        ("-5", (0, 0)),
        ("nan", None),
        ("inf", None),
        ("soon", None),
    ],
)
def test_a_wait_is_read_as_seconds_and_as_a_date(given: str, expected: tuple[float, float] | None) -> None:
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=90)
    given = format_datetime(later, usegmt=True) if given == "in 90 s" else given
    with WireServer([Wire("", 429, {"Retry-After": given})]) as server, pytest.raises(errors.Unreachable) as caught:
        ControlPlane(server.root, "key").start_worker("q1", sdk_version="1", system_info={})
    wait = caught.value.retry_after
    assert wait is None if expected is None else wait is not None and expected[0] <= wait <= expected[1]
