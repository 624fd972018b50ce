"""Kill -9 of the control plane at each point of sending loses no notification."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support import databases
from tests.support.control_plane import ControlPlane
from tests.support.receiver import Got, Receiver

NETWORKS = {"KUBIYA_NOTIFY_NETWORKS": "127.0.0.0/8"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


@pytest.fixture
def plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> Iterator[ControlPlane]:
    for name, value in NETWORKS.items():
        monkeypatch.setenv(name, value)
    with ControlPlane(tmp_path) as made:
        made.call("PUT", "/secrets/HOOK", {"value": "a secret of the hook"})
        channel = {"type": "webhook", "url": receiver.url, "secret": "{{.secret.HOOK}}"}
        about = {"name": "hook", "channel": channel, "events": ["approval_waiting", "run_failed"]}
        made.call("POST", "/notifications", about, 201)
        yield made


def kill(plane: ControlPlane) -> None:
    assert plane.process is not None
    os.kill(plane.process.pid, signal.SIGKILL)
    plane.process.popen.wait(30)


def again(plane: ControlPlane) -> None:
    """Start it again, with the time of what waits come."""
    with databases.opened(plane.database) as database:
        database.execute("update notification_deliveries set due_at = 0")
    plane.start()


def states(plane: ControlPlane) -> list[tuple[str, int]]:
    return [(one["state"], one["attempts"]) for one in plane.call("GET", "/notifications/hook/deliveries")]


def ask(plane: ControlPlane) -> str:
    body = {"execution_id": plane.execute(), "tool_name": "shell"}
    return str(plane.call("POST", "/approvals", body, 201)["id"])


@pytest.mark.parametrize("answered", [False, True], ids=["before the answer", "after the answer"])
def test_a_kill_in_a_try_sends_the_same_again(plane: ControlPlane, receiver: Receiver, answered: bool) -> None:
    """The receiver kills the control plane while it holds the request, or has the row as it was before the answer."""

    def kill_and_answer(_: Got) -> int:
        kill(plane)
        return 200

    if not answered:
        receiver.answers.append(kill_and_answer)
    approval = ask(plane)
    receiver.wait(1)
    if answered:  # what is in the database if the kill comes between the answer and the note of it
        kill(plane)
        with databases.opened(plane.database) as database:
            database.execute("update notification_deliveries set state = 'waiting', ended_at = null")
    assert plane.process is not None
    plane.process.popen.wait(30)
    again(plane)
    first, second = receiver.wait(2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"] and first.body == second.body
    assert second.json["data"]["approval_id"] == approval
    wait_for(plane, [("sent", 2)])


def test_a_kill_right_after_the_event_loses_nothing(plane: ControlPlane, receiver: Receiver) -> None:
    """Each answer to a request is followed by a kill: what was answered is told, however far the sending was."""
    asked = []
    for _ in range(3):
        asked.append(ask(plane))
        kill(plane)
        again(plane)
    wait_for(plane, ["sent"] * 3)
    told = [got.json["data"]["approval_id"] for got in receiver.got]
    assert set(told) == set(asked)
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 3  # a second try has the id of the first


def test_a_kill_while_the_channel_is_down_loses_nothing(plane: ControlPlane, receiver: Receiver) -> None:
    receiver.answers += [503, 503]
    execution = plane.execute()
    plane.call("PATCH", f"/executions/{execution}", {"status": "failed", "error_message": "no"})
    receiver.wait(1)
    kill(plane)
    again(plane)
    receiver.wait(2)
    kill(plane)
    again(plane)
    assert receiver.wait(3)[2].json["data"]["execution_id"] == execution
    wait_for(plane, [("sent", 3)])


def test_a_channel_that_never_answers_holds_up_no_request(plane: ControlPlane, receiver: Receiver) -> None:
    let_go = threading.Event()

    def never(_: Got) -> int:
        let_go.wait(60)
        return 200

    receiver.answers.append(never)
    ask(plane)
    receiver.wait(1)
    for _ in range(20):
        plane.call("GET", "/agents", timeout=30)
    assert states(plane) == [("waiting", 1)]
    let_go.set()
    wait_for(plane, [("sent", 1)])


def wait_for(plane: ControlPlane, wanted: list[tuple[str, int]] | list[str]) -> None:
    """Wait until the deliveries are in these states; the note of an answer comes a moment after it."""
    for _ in range(1200):  # a minute
        found = states(plane)
        if found == wanted or [state for state, _ in found] == wanted:
            return
        time.sleep(0.05)
    raise AssertionError(states(plane))


@pytest.mark.slow
def test_an_answer_counts_once_however_often_it_is_pressed_around_kills(
    plane: ControlPlane, receiver: Receiver
) -> None:
    """The button is pressed, the control plane is killed at once, and it is pressed again; the other one, too."""
    plane.call("POST", "/keys", {"name": "Ann", "role": "approver", "email": "ann@example.org"}, 201)
    channel = {"type": "webhook", "url": receiver.url, "secret": "{{.secret.HOOK}}", "person": "ann@example.org"}
    plane.call("PATCH", "/notifications/hook", {"channel": channel})
    for number in range(3):
        approval = ask(plane)
        path = urlsplit(receiver.wait(number + 1)[number].json["data"]["answer"]).path
        assert plane.http.post(plane.url + path, data={"decision": "approve"}, timeout=30).status_code == 200
        kill(plane)
        plane.start()
        for decision in ("approve", "reject"):
            again = plane.http.post(plane.url + path, data={"decision": decision}, timeout=30)
            assert again.status_code == 409
        assert plane.call("GET", f"/approvals/{approval}")["status"] == "approved"
        with databases.opened(plane.database) as database:
            (count,) = database.execute(
                "select count(*) from outbox where action = 'signal' and argument like ?", (f"%{approval}%",)
            ).fetchone()
        assert count == 1
