"""The worker asks for secrets at their use, keeps them for a short time, and hides what it has got."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kubiya_worker.activities import execution_secrets
from kubiya_worker.activities.execution_memory import ExecutionMemory
from kubiya_worker.activities.execution_secrets import filled, secrets_for, seen
from kubiya_worker.activities.runtime import Runtime
from kubiya_worker.control_plane.errors import Refused, Unreachable
from kubiya_worker.protocol import calls, names

CONTEXT = calls.Context(agent_id="a1")
SETTINGS = [{"env": {"T": "x {{.secret.A}}"}, "args": ["{{.secret.B}}", "{{PLAIN}}"]}]


class Plane:
    """The control plane's answers, one after the other; an exception is raised."""

    features = frozenset({names.FEATURE_SECRETS})

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), list[dict[str, Any]]()

    def secrets(self, question: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(question)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


def runtime_of(plane: Plane) -> Runtime:
    about = {"control_plane": plane, "worker_id": "w1", "memory": ExecutionMemory()}
    return cast(Runtime, SimpleNamespace(**about))


def ask(runtime: Runtime) -> dict[str, str]:
    return asyncio.run(secrets_for(runtime, "e1", CONTEXT, SETTINGS))


def test_only_what_is_referenced_is_asked_and_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = Plane({"values": {"A": "one-1111", "B": "two-2222"}}, {"values": {"A": "new-3333", "B": "two-2222"}})
    runtime = runtime_of(plane)
    assert ask(runtime) == ask(runtime) == {"A": "one-1111", "B": "two-2222"}
    question = {"worker_id": "w1", "execution_id": "e1", "kind": "agent", "entity_id": "a1", "names": ["A", "B"]}
    assert plane.asked == [question]
    runtime.memory.redactors.put("e1", cast(Any, "of the first values"))
    monkeypatch.setattr(execution_secrets, "FRESH", -1.0)
    assert ask(runtime)["A"] == "new-3333"
    assert runtime.memory.redactors.get("e1") is None and seen(runtime, "e1") == {"one-1111", "two-2222", "new-3333"}


def test_the_last_value_holds_in_an_outage_and_not_after_a_refusal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(execution_secrets, "FRESH", -1.0)
    known = {"values": {"A": "one-1111", "B": "two-2222"}}
    gone = {"values": {"A": "one-1111"}, "missing": {"B": "there is no secret with this name"}}
    plane = Plane(known, Unreachable("away"), gone, Refused("no", status=403))
    runtime = runtime_of(plane)
    assert ask(runtime) == ask(runtime) == known["values"]
    assert ask(runtime) == {"A": "one-1111"} and "there is no secret" in caplog.text
    assert ask(runtime) == {} and "1111" not in caplog.text


def test_a_variable_without_its_secret_is_left_out() -> None:
    variables = {"A": "{{.secret.A}}", "B": "x {{.secret.GONE}}", "C": "plain {{PLAIN}}"}
    assert filled(variables, {"A": "one-1111"}) == {"A": "one-1111", "C": "plain {{PLAIN}}"}
