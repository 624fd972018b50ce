"""Workers as versions of a deployment: who takes what, and how a conversation gets from one to the next."""

from __future__ import annotations

import json
import signal

import pytest

from tests.integration.versions.fleet import Fleet


def test_a_conversation_goes_on_with_the_version_that_is_current_when_the_next_message_comes(fleet: Fleet) -> None:
    old = fleet.worker("1")
    old.expect(r"worker\.version .*build=1 current=none")
    assert "1 is the current version" in fleet.deployment("set-current", build="1")
    execution = fleet.converse()
    build, first_run = fleet.described(execution)
    assert build == "1"

    fleet.worker("2")
    assert f"2 is the current version of {fleet.name}; it was 1" in fleet.deployment("set-current", "2")
    fleet.say(execution, "and now?", 2)
    build, second_run = fleet.described(execution)
    assert (build, second_run != first_run) == ("2", True), "carried on by continue-as-new"

    old.signal(signal.SIGTERM)
    assert old.wait() == 0
    fleet.say(execution, "still there?", 3)
    assert fleet.turns(execution) == [1, 2, 3]
    assert fleet.described(execution) == ("2", second_run), "it moves once"
    said = fleet.stack.call("GET", f"/executions/{execution}/session")["messages"]
    assert [m["content"] for m in said if m["role"] == "user"] == ["hello", "and now?", "still there?"]


@pytest.mark.slow
def test_what_waits_longer_than_its_workers_live_is_moved(fleet: Fleet) -> None:
    old = fleet.worker("1")
    fleet.deployment("set-current", "1")
    execution = fleet.converse()
    old.signal(signal.SIGTERM)  # not killed: the end of the turn would be taken up again with the next message in it
    assert old.wait() == 0
    fleet.worker("2")
    fleet.deployment("set-current", "2")
    assert "2 is the current version" in fleet.deployment("move", "2", build="2", code=78)
    assert "The current version of" in fleet.deployment("move", "1", build="7", code=78)
    said = fleet.deployment("move", "1", build="2")
    assert f"moved  agent-execution-{execution}" in said and "1 open executions moved from 1 to 2" in said
    fleet.say(execution, "and now?", 2)
    assert fleet.described(execution)[0] == "2"


@pytest.mark.slow
def test_auto_upgrade_moves_without_a_new_run(fleet: Fleet) -> None:
    fleet.worker("1", KUBIYA_VERSIONING_BEHAVIOR="auto-upgrade").expect("behavior=auto-upgrade")
    fleet.deployment("set-current", "1")
    execution = fleet.converse()
    run = fleet.described(execution)[1]
    fleet.worker("2", KUBIYA_VERSIONING_BEHAVIOR="auto-upgrade")
    fleet.deployment("set-current", "2")
    fleet.say(execution, "and now?", 2)
    assert fleet.described(execution) == ("2", run)


@pytest.mark.slow
def test_a_share_of_the_executions_goes_to_a_version_that_is_ramping(fleet: Fleet) -> None:
    fleet.worker("1")
    fleet.worker("2")
    assert "No version is current" in fleet.deployment("show")
    fleet.deployment("set-current", "1")
    assert "2 of" in fleet.deployment("ramp", "2", "100")
    assert fleet.described(fleet.converse())[0] == "2"
    shown = json.loads(fleet.deployment("show", "--json").splitlines()[-1])["versions"]
    facts = [(v["build_id"], v["status"], v["percent"]) for v in shown]
    assert facts == [("2", "ramping", 100.0), ("1", "current", None)]
    assert "No version" in fleet.deployment("ramp", "2", "0")
    assert fleet.described(fleet.converse())[0] == "1"


def test_what_cannot_be_done_is_one_line(fleet: Fleet) -> None:
    unknown = fleet.deployment("show", code=78)
    assert "knows no worker deployment" in unknown and len(unknown.splitlines()) == 1
    early = fleet.deployment("set-current", "9", "--timeout", "1", code=75)
    assert "Start its workers first" in early and len(early.splitlines()) == 1
