"""These tests count, on a real stack, how often a failing model is asked, which models come next, and the cost."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import Stack

SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
QUOTA = {"status": 429, "body": {"error": {"message": "no credit", "code": "insufficient_quota"}}}
AWAY = {"status": 503, "body": {"error": {"message": "down"}}}
ODD = {"status": 400, "body": {"error": {"message": "computer says no"}}}
LONG = {"tools": [{"name": "shell", "arguments": {"command": "seq 1 4000"}}]}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[ModelEndpoint]:
    with ModelEndpoint(default={"text": "Done."}) as running:
        yield running


class Ran:
    def __init__(
        self,
        stack: Stack,
        endpoint: ModelEndpoint,
        queue: str,
        by_model: dict[str, Any],
        script: Sequence[dict[str, Any]] = (),
        **agent: Any,
    ) -> None:
        """`by_model` has the answers of each model of this run, whose names get a suffix: faults are remembered."""
        run = uuid.uuid4().hex[:6]
        endpoint.by_model = {f"{name}-{run}": steps for name, steps in by_model.items()}
        endpoint.script = list(script)
        before = endpoint.count
        llm = {"fallback_models": [f"{name}-{run}" for name in list(by_model)[1:]], **agent.pop("llm_config", {})}
        stored = agent.pop("stored", {})
        made = stack.agent(
            f"a-{run}", skills=[SHELL], model_id=f"{next(iter(by_model), 'own')}-{run}", llm_config=llm, **agent
        )
        stack.store("agents", made, **stored)
        self.execution = stack.execute("Do it.", agent=made, queue=queue)
        self.events = list(stack.events(self.execution))
        self.row = stack.execution(self.execution)
        self.asked = [r["body"]["model"].rpartition("-")[0] for r in endpoint.requests[before:]]

    @property
    def notices(self) -> list[dict[str, Any]]:
        return [event["data"] for event in self.events if event["event"] == "notice"]


def test_a_used_up_account_hands_over_to_the_next_model_at_once(
    stack: Stack, endpoint: ModelEndpoint, queue: str
) -> None:
    ran = Ran(stack, endpoint, queue, {"own": [QUOTA], "second": [QUOTA], "third": []})
    assert (ran.row["status"], ran.row["response"]) == ("completed", "Done.")
    assert ran.asked == ["own", "second", "third"]
    assert [n["kind"] for n in ran.notices] == ["fallback", "fallback"]
    assert "no credit" in ran.notices[0]["message"] and "Going on with the model second" in ran.notices[0]["message"]
    said = next(e["data"] for e in ran.events if e["event"] == "message" and e["data"].get("role") == "assistant")
    assert said["model_label"].startswith("third-")


def test_a_model_that_has_just_failed_is_not_asked_first_in_the_next_step(
    stack: Stack, endpoint: ModelEndpoint, queue: str
) -> None:
    call = {"tools": [{"name": "shell", "arguments": {"command": "echo hi"}}]}
    ran = Ran(stack, endpoint, queue, {"own": [QUOTA, QUOTA], "second": [call, {"text": "Both."}]})
    assert ran.row["response"] == "Both."
    assert ran.asked == ["own", "second", "second"]


def test_an_outage_hands_over_after_three_tries(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    ran = Ran(stack, endpoint, queue, {"own": [AWAY], "second": []})
    assert ran.row["response"] == "Done."
    assert ran.asked == ["own", "own", "own", "second"]
    assert [n["kind"] for n in ran.notices] == ["unavailable", "unavailable", "fallback"]


def test_a_wrong_request_is_not_sent_to_another_model(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    ran = Ran(stack, endpoint, queue, {"own": [ODD], "second": []})
    assert ran.row["status"] == "failed" and "computer says no" in ran.row["error_message"]
    assert ran.asked == ["own"]


def test_fallback_models_that_are_no_list_are_refused(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    ran = Ran(stack, endpoint, queue, {"own": []}, stored={"llm_config": {"fallback_models": {"a": 1}}})
    assert ran.row["status"] == "failed" and "fallback_models" in ran.row["error_message"]
    assert ran.asked == []


def test_an_answer_that_is_none_is_asked_for_three_times(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    ran = Ran(stack, endpoint, queue, {"own": [{"text": "half", "error": {"message": "the model crashed"}}]})
    assert ran.row["status"] == "failed"
    assert ran.asked == ["own"] * 3
    assert "the model crashed" in ran.row["error_message"] and "tried 3 times" in ran.row["error_message"]


@pytest.mark.parametrize(("status", "tries"), [(400, 1), (422, 1), (500, 3)])
def test_a_long_conversation_that_is_refused_without_a_reason_is_shortened_once(
    stack: Stack, endpoint: ModelEndpoint, queue: str, status: int, tries: int
) -> None:
    odd: dict[str, Any] = {**ODD, "status": status}
    script: list[dict[str, Any]] = [LONG, LONG, *[odd] * tries, {"text": "THE SUMMARY"}, {"text": "Here."}]
    ran = Ran(stack, endpoint, queue, {}, script=script)
    assert (ran.row["status"], ran.row["response"]) == ("completed", "Here.")
    assert len(ran.asked) == 4 + tries
    again = Ran(stack, endpoint, queue, {}, script=[LONG, LONG, *[odd] * tries, {"text": "THE SUMMARY"}, ODD, ODD])
    assert again.row["status"] == "failed" and "computer says no" in again.row["error_message"], "once, not for ever"
    assert len(again.asked) == 4 + tries


def test_a_short_conversation_that_is_refused_is_not(stack: Stack, endpoint: ModelEndpoint, queue: str) -> None:
    ran = Ran(stack, endpoint, queue, {"own": [{"tools": [{"name": "shell", "arguments": {"command": "pwd"}}]}, ODD]})
    assert ran.row["status"] == "failed" and ran.asked == ["own", "own"]
