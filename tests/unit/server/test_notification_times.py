"""Quiet hours, whom next, and what no request tells: requests that end soon, workers that fell silent."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kubiya_worker.server.notify import quiet, watch
from tests.support.api import Api, Object
from tests.support.receiver import Receiver
from tests.unit.server.test_notifications import HERE, ask, deliveries, fail, make_due, send, told_of, webhook

BERLIN = {"start": "22:00", "end": "07:00", "zone": "Europe/Berlin"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with Api(tmp_path_factory.mktemp("quiet")) as made:
        made.plane.notifier.use(HERE)
        made.call("PUT", "/secrets/HOOK", {"value": "a secret of the hook"})
        yield made


@pytest.fixture(autouse=True)
def no_others(api: Api) -> Iterator[None]:
    yield
    for _ in range(5):  # those that others name in `then` go last
        for one in api.call("GET", "/notifications"):
            api.ask("DELETE", f"/notifications/{one['id']}")
    assert api.call("GET", "/notifications") == []


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("hours", "now", "until"),
    [
        (BERLIN, "2026-01-10T21:59:59+01:00", None),
        (BERLIN, "2026-01-10T22:00:00+01:00", "2026-01-11T07:00:00+01:00"),
        (BERLIN, "2026-01-11T06:59:59+01:00", "2026-01-11T07:00:00+01:00"),
        (BERLIN, "2026-01-11T07:00:00+01:00", None),
        (BERLIN, "2026-07-10T20:30:00+00:00", "2026-07-11T05:00:00+00:00"),  # summer
        (BERLIN, "2026-03-28T23:00:00+01:00", "2026-03-29T07:00:00+02:00"),  # the night when clocks go forward
        (BERLIN, "2026-10-24T23:00:00+02:00", "2026-10-25T07:00:00+01:00"),  # and back
        ({**BERLIN, "start": "12:00", "end": "13:30"}, "2026-01-10T12:10:00+01:00", "2026-01-10T13:30:00+01:00"),
        ({**BERLIN, "start": "12:00", "end": "13:30"}, "2026-01-10T23:10:00+01:00", None),
        ({**BERLIN, "zone": "Asia/Kolkata"}, "2026-01-10T17:00:00+00:00", "2026-01-11T01:30:00+00:00"),
        (None, "2026-01-10T23:00:00+01:00", None),
    ],
)
def test_quiet_hours_are_those_of_a_clock(hours: Object | None, now: str, until: str | None) -> None:
    assert quiet.held_until(hours, "info", at(now)) == (at(until) if until else None)


def test_a_severity_that_passes_is_not_held() -> None:
    night = at("2026-01-10T23:00:00+01:00")
    held = {
        (passes, severity): quiet.held_until({**BERLIN, "let_pass": passes}, severity, night) is not None
        for passes in ("warning", "critical", None)
        for severity in ("info", "warning", "critical")
    }
    assert [key for key, value in held.items() if not value] == [
        *(("warning", "warning"), ("warning", "critical"), ("critical", "critical")),
    ]


def hours_now(end: timedelta = timedelta(hours=2), **more: Any) -> Object:
    """Return quiet hours in UTC that began an hour ago."""
    now = datetime.now(UTC)
    return {"start": f"{now - timedelta(hours=1):%H:%M}", "end": f"{now + end:%H:%M}", "zone": "UTC", **more}


def test_what_is_held_is_sent_at_the_end_of_the_quiet_hours(api: Api, receiver: Receiver) -> None:
    """start, end, zone, let_pass."""
    made = told_of(api, webhook(receiver), "approval_waiting", quiet_hours=hours_now(let_pass="critical"))
    ask(api)
    ask(api, risk_level="critical")
    send(api)
    (got,) = receiver.got
    assert got.json["data"]["severity"] == "critical"
    due = api.plane.stores.notification_deliveries.due_at(())
    assert due is not None and 7_000 < due - time.time() <= 7_260
    assert sorted((d["state"], d["attempts"]) for d in deliveries(api, made)) == [("sent", 1), ("waiting", 0)]
    told = api.call("POST", f"/notifications/{made['id']}/test", {})
    assert told["state"] == "sent"  # a person waits for it
    api.call("PATCH", f"/notifications/{made['id']}", {"quiet_hours": None})
    send(api)
    assert {d["state"] for d in deliveries(api, made)} == {"sent"}


def test_the_next_is_told_after_its_time_unless_somebody_answers(api: Api, receiver: Receiver) -> None:
    """then: after_minutes, notification."""
    last = told_of(api, webhook(receiver), "run_failed")
    second = told_of(api, webhook(receiver), "run_failed", then={"after_minutes": 60, "notification": last["id"]})
    first = told_of(
        api, webhook(receiver), "approval_waiting", then={"after_minutes": 15, "notification": second["name"]}
    )
    answered, open_ = ask(api), ask(api)
    fail(api)  # nobody answers a failure, so nobody is next
    send(api)
    assert len(receiver.got) == 2 + 2  # both requests to the first; the failure to the others
    waits = sorted(
        (each.due_at - each.created_at, each.notification_id)
        for one in (second, last)
        for each in api.plane.stores.notification_deliveries.of(one["id"], 10)
        if each.approval_id
    )
    assert [(round(seconds / 60), key) for seconds, key in waits] == [
        *((15, second["id"]), (15, second["id"]), (75, last["id"]), (75, last["id"])),
    ]
    api.call("POST", f"/approvals/{answered['id']}/approve", {})
    make_due(api)
    receiver.got.clear()
    send(api)
    assert [got.json["data"]["approval_id"] for got in receiver.got] == [open_["id"]] * 2
    assert {d["state"] for d in deliveries(api, first)} == {"sent"}


def test_one_that_others_lead_to_is_neither_deleted_nor_renamed(api: Api, receiver: Receiver) -> None:
    last = told_of(api, webhook(receiver))
    first = told_of(api, webhook(receiver), then={"after_minutes": 1, "notification": last["name"]})
    for method, body in (("DELETE", None), ("PATCH", {"name": "other"})):
        assert first["name"] in api.call(method, f"/notifications/{last['id']}", body, 409)["detail"]
    api.call("PATCH", f"/notifications/{first['id']}", {"then": None})
    api.call("DELETE", f"/notifications/{last['id']}")


def test_a_circle_ends_and_documents_may_come_in_any_order(api: Api, receiver: Receiver) -> None:
    def document(name: str, then: str | None) -> Object:
        spec = {"channel": webhook(receiver), "events": ["approval_waiting"]}
        return {"kind": "Notification", "name": name, "spec": {**spec, **({"then": next_of(then)} if then else {})}}

    def next_of(name: str) -> Object:
        return {"after_minutes": 5, "notification": name}

    documents = [document("a", "b"), document("b", "c"), document("c", None)]
    changes = api.call("POST", "/definitions/apply", {"documents": documents, "source": "s"})["changes"]
    assert [change["action"] for change in changes] == ["created"] * 3
    api.call("PATCH", "/notifications/c", {"then": next_of("a")})
    ask(api)
    assert [len(deliveries(api, {"id": name})) for name in "abc"] == [1, 1, 1]
    api.call("PATCH", "/notifications/c", {"then": None})
    pruned = api.call("POST", "/definitions/apply", {"documents": [], "source": "s", "prune": True})["changes"]
    assert [change["name"] for change in pruned] == ["a", "b", "c"]


def test_a_request_that_ends_soon_is_told_once(api: Api, receiver: Receiver) -> None:
    made = told_of(api, webhook(receiver), "approval_expires_soon")
    soon, later, done = ask(api, timeout_minutes=10), ask(api), ask(api, timeout_minutes=10)
    api.call("POST", f"/approvals/{done['id']}/approve", {})
    began = time.time()
    watch.look(api.plane, began + 7 * 60)
    assert deliveries(api, made) == []
    for _ in range(2):
        watch.look(api.plane, began + 9 * 60)
    send(api)
    (got,) = receiver.got
    assert got.json["data"]["approval_id"] == soon["id"] and got.json["type"] == "approval_expires_soon"
    watch.look(api.plane, began + 24 * 3600 - 600)
    send(api)
    told = [got.json["data"]["approval_id"] for got in receiver.got]
    assert told.count(soon["id"]) == told.count(later["id"]) == 1 and done["id"] not in told


def test_a_worker_that_fell_silent_is_told_once_and_one_that_stopped_is_not(api: Api, receiver: Receiver) -> None:
    made = told_of(api, webhook(receiver), "worker_lost", filters={"queues": ["default"]})
    hidden = api.call(
        "POST", "/environments/default/worker-queues", {"name": f"q{uuid.uuid4().hex[:8]}", "ephemeral": True}
    )["id"]
    default = api.plane.stores.queues.find("local", "default")
    assert default is not None
    host = {"system_info": {"hostname": "build-7"}}
    lost, stopped = (api.call("POST", f"/worker-queues/{default['id']}/start", host)["worker_id"] for _ in range(2))
    api.call("POST", f"/worker-queues/{hidden}/start", {})
    api.call("POST", f"/workers/{stopped}/disconnect", {"reason": "stopped"})
    now = time.time()
    api.plane.began = now + 100
    watch.look(api.plane, now + 200)  # this process has just begun: workers may still find it
    assert deliveries(api, made) == []
    api.plane.began = now - 1_000
    watch.look(api.plane, now + 100)
    assert deliveries(api, made) == []
    for _ in range(2):
        watch.look(api.plane, now + 200)
    watch.look(api.plane, now + 100_000)
    send(api)
    (got,) = receiver.got
    assert got.json["data"]["worker_id"] == lost and "build-7" in got.json["data"]["text"]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"quiet_hours": {**BERLIN, "zone": "Mars/Olympus"}}, "no time zone"),
        ({"quiet_hours": {**BERLIN, "start": "25:00"}}, "hour"),
        ({"quiet_hours": {**BERLIN, "start": "7:00"}}, "HH:MM"),
        ({"quiet_hours": {**BERLIN, "end": "22:00"}}, "enabled"),
        ({"quiet_hours": {**BERLIN, "let_pass": "info"}}, "let_pass is one of"),
        ({"then": {"after_minutes": 0, "notification": "n"}}, "after_minutes must be"),
        ({"then": {"after_minutes": 5, "notification": "nobody"}}, "There is no notification 'nobody'"),
    ],
)
def test_hours_and_successors_that_cannot_be_are_refused(
    api: Api, receiver: Receiver, fields: Object, word: str
) -> None:
    body = {"name": "n", "channel": webhook(receiver), "events": ["run_failed"], **fields}
    assert word in str(api.call("POST", "/notifications", body, 422)["detail"])
