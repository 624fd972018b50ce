"""Each kind of write is retried, reduced or given up, by what the control plane answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kubiya_worker.control_plane import delivery, errors, writes
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.delivery import Delivery
from kubiya_worker.control_plane.writer import Writer
from kubiya_worker.control_plane.writes import Write
from kubiya_worker.protocol import names
from tests.support.scripted_plane import Reply, ScriptedPlane, Seen

E = "/api/v1/executions/e"
DONE = writes.execution("e", status="completed", response="r", usage={"bad": "x"})
TURN = writes.turn({"execution_id": "e"})
Answer = Callable[[Seen], Reply]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "PAUSES", (0.01, 0.01))


@pytest.fixture
def plane() -> Iterator[ScriptedPlane]:
    with ScriptedPlane() as running:
        yield running


def delivered(plane: ScriptedPlane, answer: Answer, write: Write, *features: str, must: bool = False) -> Any:
    plane.others = answer
    client = ControlPlane(plane.url, "key", features=frozenset(features))
    made = Delivery(client, Writer(client))
    try:
        return asyncio.run(made.together([write], must=must) if features else made.make(write, must=must))
    finally:
        client.close()


def sent(plane: ScriptedPlane) -> list[tuple[str, str]]:
    return [(seen.method, seen.path.removeprefix("/api/v1")) for seen in plane.seen]


def on_write(reply: Reply) -> Answer:
    """The reply to writes; the row can be read."""
    return lambda seen: Reply(200, {"status": "running"}) if seen.method == "GET" else reply


def test_a_write_that_the_control_plane_breaks_on_is_repeated_and_then_weakened(plane: ScriptedPlane) -> None:
    def answer(seen: Seen) -> Reply:
        if seen.method == "GET":
            return Reply(200, {"status": "running"})
        return Reply(500, "Internal Server Error") if "usage" in seen.body else Reply(200, {"ok": True})

    assert delivered(plane, answer, DONE) == {"ok": True}
    patches = [seen.body for seen in plane.seen if seen.method == "PATCH"]
    assert patches == [DONE.body] * 3 + [{"status": "completed", "response": "r"}]


@pytest.mark.parametrize("status", [500, 501, 422, 400])
def test_what_is_not_taken_even_so_does_not_loop(plane: ScriptedPlane, status: int) -> None:
    assert delivered(plane, on_write(Reply(status, {"detail": "no"})), DONE) is None
    assert len(plane.seen) < 15
    with pytest.raises(errors.ControlPlaneError):
        delivered(plane, on_write(Reply(status, {"detail": "no"})), DONE, must=True)


def test_an_outage_is_not_the_fault_of_the_write(plane: ScriptedPlane) -> None:
    for status in (502, 503, 504, 429, 522):
        with pytest.raises(errors.Unreachable):
            delivered(plane, on_write(Reply(status, "<html>away</html>")), DONE)
    with pytest.raises(errors.Unreachable):  # neither can the row be read: the database is away
        delivered(plane, lambda seen: Reply(500, "Internal Server Error"), DONE)
    assert len([path for path in sent(plane) if path[0] == "PATCH"]) == 6


def test_somebody_elses_page_is_an_outage(plane: ScriptedPlane) -> None:
    with pytest.raises(errors.Unreachable):
        delivered(plane, lambda seen: Reply(200, "<html>log in</html>"), DONE)


def test_a_session_that_was_answered_201_and_not_stored_is_made_plain(plane: ScriptedPlane) -> None:
    session = writes.session("e", [{"role": "user", "content": "x", "odd": []}], user_id=None, turn=1)

    def answer(seen: Seen) -> Reply:
        if seen.method == "GET":
            return Reply(404, {"detail": "none"})
        good = "odd" not in seen.body["messages"][0]
        return Reply(201, {"success": good, **({} if good else {"error": "content must be text"})})

    assert delivered(plane, answer, session) == {"success": True}
    assert delivered(plane, lambda s: Reply(201, {"success": False}) if s.body else Reply(404), session) is None


def test_a_silent_write_is_given_up_when_nothing_else_is_answered_either(
    plane: ScriptedPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "PROBE_AFTER", 0.2)
    monkeypatch.setattr(delivery, "OPTIONAL_TIMEOUT", (0.5, 0.5))
    began = time.monotonic()
    with pytest.raises(errors.Unreachable, match="does not answer"):
        delivered(plane, lambda seen: Reply(200, {}, delay=3.0), DONE)
    monkeypatch.setattr(delivery, "OPTIONAL_TIMEOUT", (20, 20))  # a busy machine answers the probe late
    slow = on_write(Reply(200, {"ok": True}, delay=1.0))
    assert delivered(plane, slow, DONE) == {"ok": True}, "a slow one is waited for while the control plane is there"
    assert [method for method, _ in sent(plane)].count("PATCH") == 2
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("reply", [Reply(500, "x"), Reply(404, {}), Reply(422, {"detail": []}), Reply(200, "no json")])
def test_an_optional_write_is_tried_once(plane: ScriptedPlane, reply: Reply) -> None:
    assert delivered(plane, on_write(reply), TURN) is None
    assert sent(plane) == [("POST", "/analytics/turns")]


def test_a_route_that_does_not_answer_rests(plane: ScriptedPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubiya_worker.control_plane.write_requests.TURN_TIMEOUT", (1.0, 0.1))
    monkeypatch.setattr(delivery, "PAUSE_ROUTE_AFTER", 0.05)
    plane.others = lambda seen: Reply(201, {}, delay=0.5 if "analytics" in seen.path else 0.0)
    client = ControlPlane(plane.url, "key")
    made = Delivery(client, Writer(client))

    async def three() -> list[Any]:
        return [await made.make(TURN), await made.make(TURN), await made.make(writes.agent("a", status="running"))]

    assert asyncio.run(three()) == [None, None, {}]
    assert sent(plane) == [("POST", "/analytics/turns"), ("PATCH", "/agents/a")]
    client.close()


@pytest.mark.parametrize("status", [422, 404, 500])
def test_an_optional_entry_does_not_take_the_others_of_a_batch_down(plane: ScriptedPlane, status: int) -> None:
    """Our own control plane makes a batch all or nothing."""

    def answer(seen: Seen) -> Reply:
        if seen.path.endswith("/batch") or "analytics" in seen.path:
            return Reply(status, {"detail": "turn_number: no"})
        return Reply(200, {"path": seen.path})

    plane.others = answer
    client = ControlPlane(plane.url, "key", features=frozenset({names.FEATURE_BATCH}))
    made = Delivery(client, Writer(client))
    later = writes.Write("PATCH", "/executions/e", {"status": "completed"}, if_status="completed")
    answers = asyncio.run(made.together([DONE], [TURN], [later]))
    assert answers == [{"path": E}, {}, {}]
    client.close()


def test_a_batch_in_an_outage_is_made_again_as_it_was(plane: ScriptedPlane) -> None:
    plane.others = lambda seen: Reply(503)
    client = ControlPlane(plane.url, "key", features=frozenset({names.FEATURE_BATCH}))
    made = Delivery(client, Writer(client))
    with pytest.raises(errors.Unreachable):
        asyncio.run(made.together([DONE, TURN]))
    assert sent(plane) == [("POST", "/batch")]
    client.close()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("Internal Server Error", "Internal Server Error"),
        ("<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>", "502 Bad Gateway"),
        ("<p>away</p>\n<p>for now</p>", "away for now"),
        ("Traceback\n  File x\n" + "y" * 5000, "Traceback File x yyy"),
        (
            {"detail": {"error": "Unauthorized", "message": "Invalid token.", "hint": "Send one"}},
            "Invalid token. Send one",
        ),
        ({"detail": [{"loc": ["body", "status"], "msg": "not text"}] * 50}, "body.status: not text"),
        ({"detail": "two\nlines\x1b[31m"}, "two lines [31m"),
        (["odd"], '["odd"]'),
    ],
)
def test_an_errors_body_is_one_bounded_line(plane: ScriptedPlane, body: Any, said: str) -> None:
    plane.others = lambda seen: Reply(500, body)
    client = ControlPlane(plane.url, "key")
    with pytest.raises(errors.Unreachable) as caught:
        client.get_execution("e")
    assert said in caught.value.message and "\n" not in caught.value.message and len(caught.value.message) < 500
    client.close()


def test_events_that_were_taken_are_not_sent_again_with_the_rest(plane: ScriptedPlane) -> None:
    broken = [True]
    plane.others = lambda seen: Reply(503) if seen.body["event_id"] == "2" and broken.pop(0) else Reply(202)
    client = ControlPlane(plane.url, "key")
    events = [{"event_id": str(n), "event_type": "notice", "data": {}} for n in (1, 2, 3)]
    with pytest.raises(errors.Unreachable):
        client.publish("e", events)
    broken.append(False)
    client.publish("e", events)
    assert [seen.body["event_id"] for seen in plane.seen] == ["1", "2", "2", "3"]
    client.close()
