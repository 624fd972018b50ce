"""A run hands its state to the next one, where the two are of different versions."""

from __future__ import annotations

import base64
import bz2
import json
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.protocol.calls import Context
from kubiya_worker.workflows.agent import AgentExecutionWorkflow
from kubiya_worker.workflows.carried import OFTEN_EMPTY, Carried
from kubiya_worker.workflows.execution import Execution
from kubiya_worker.workflows.team import TeamExecutionWorkflow

RECORDED = Path(__file__).parent / "carried"
HISTORIES = Path(__file__).parents[2] / "replay" / "histories"
WORKFLOWS: dict[str, type[Execution]] = {"agent": AgentExecutionWorkflow, "team": TeamExecutionWorkflow}


def unpacked(packed: str) -> str:
    return bz2.decompress(base64.b85decode(packed)).decode()


def carried_on(kind: str, packed: str) -> str:
    """Return what a run hands on that was given `packed`, and did nothing."""
    execution = WORKFLOWS[kind]()
    execution._continuation.resume(packed)
    return execution._continuation.carried().pack()


@pytest.mark.parametrize("kind", sorted(WORKFLOWS))
def test_what_the_tree_with_one_inherited_state_carried_comes_back_byte_for_byte(kind: str) -> None:
    """It was recorded there with a value in each field that is not the field's default."""
    recorded = unpacked((RECORDED / f"{kind}.txt").read_text().strip())
    again = json.loads(unpacked(carried_on(kind, (RECORDED / f"{kind}.txt").read_text().strip())))
    for path in (("context",), ("context", "member")):
        now, before = ({"": each} for each in (again, json.loads(recorded)))
        for name in ("", *path):
            now, before = now.get(name) or {}, before.get(name) or {}
        for later in now.keys() - before.keys():
            del now[later]
    assert json.dumps(again, separators=(",", ":")) == recorded


@pytest.mark.parametrize("kind", sorted(WORKFLOWS))
def test_no_field_of_what_is_carried_is_left_at_its_default_in_the_recording(kind: str) -> None:
    """A field that no part restores would else come back right by chance."""
    saved = Carried.unpack((RECORDED / f"{kind}.txt").read_text().strip())
    fresh = vars(Carried())
    same = {name for name, value in vars(saved).items() if value == fresh[name]} - set(OFTEN_EMPTY)
    assert same == {"done"} | ({"asked_in", "line"} if kind == "agent" else set())


def test_the_failures_of_a_turn_are_carried() -> None:
    saved = Carried.unpack((RECORDED / "agent.txt").read_text().strip())
    saved.repeated, saved.go_on_questions = {"call": ["digest", 6, 5]}, 1
    again = Carried.unpack(carried_on("agent", saved.pack()))
    assert (again.repeated, again.go_on_questions) == (saved.repeated, 1)


@pytest.mark.parametrize("shape", ["continued-2", "trimmed-2"])
def test_what_0_1_0_carried_is_kept_and_what_it_lacked_is_added(shape: str) -> None:
    history = json.loads((HISTORIES / "0.1.0" / f"{shape}.json").read_text())
    started = history["events"][0]["workflowExecutionStartedEventAttributes"]["input"]["payloads"][0]
    packed: str = json.loads(base64.b64decode(started["data"]))["_resume"]
    before: dict[str, Any] = json.loads(unpacked(packed))
    after: dict[str, Any] = json.loads(unpacked(carried_on("team" if "line" in before else "agent", packed)))
    context = after.pop("context")
    assert {name: context[name] for name in before["context"]} == before.pop("context")
    assert {name: after[name] for name in before} == before
    assert after["texts"] >= 1, "no id of a message is given a second time"


def test_what_only_a_later_version_carries_is_ignored() -> None:
    assert Carried.parse({"turn": 2, "a_later_field": 1}) == Carried(turn=2)
    assert Context.restore({"agent_id": "a", "a_later_field": 1}) == Context(agent_id="a")
