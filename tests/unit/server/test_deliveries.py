"""The memory of a webhook's deliveries: they start something once, also after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import time
import uuid
from pathlib import Path
from typing import Any

from kubiya_worker.server import background
from kubiya_worker.server.store.deliveries import KEPT
from tests.support.api import Api
from tests.support.control_plane import ControlPlane

SECRET = "s3cret"


def job(plane: Any) -> Any:
    name = f"hook-{uuid.uuid4().hex[:8]}"
    body = {"name": name, "entity_type": "agent", "entity_id": "ops", "prompt_template": "Look.", "enabled": True}
    return plane.call("POST", "/jobs", {**body, "trigger_type": "webhook", "webhook_secret": SECRET}, 201)


def headers(body: bytes, at: float | None = None, **more: str) -> dict[str, str]:
    prefix = b"" if at is None else f"{at:.0f}.".encode()
    proof = {"X-Webhook-Signature": hmac.new(SECRET.encode(), prefix + body, "sha256").hexdigest()}
    return proof | ({} if at is None else {"X-Webhook-Timestamp": f"{at:.0f}"}) | more


def post(plane: Any, made: Any, body: bytes, given: dict[str, str]) -> Any:
    path = made["webhook_url_path"].removeprefix("/api/v1")
    if isinstance(plane, Api):
        return plane.ask("POST", path, content=body, headers=given)
    return plane.http.post(plane.url + made["webhook_url_path"], data=body, headers=given, timeout=30)


def runs(plane: Any, made: Any) -> int:
    return len(plane.call("GET", f"/jobs/{made['id']}/executions"))


def test_a_signed_time_that_is_old_or_to_come_starts_nothing(api: Api) -> None:
    made = job(api)
    for away in (-400, 400):
        answer = post(api, made, b"{}", headers(b"{}", time.time() + away))
        assert answer.status_code == 401 and "signed time" in answer.text
    assert runs(api, made) == 0
    now = time.time()
    first = post(api, made, b"{}", headers(b"{}", now))
    assert first.status_code == 200, first.text
    assert post(api, made, b"{}", headers(b"{}", now)).json() == first.json()
    # The same body with another time is another delivery.
    later = post(api, made, b"{}", headers(b"{}", now + 1))
    assert later.json()["execution_id"] != first.json()["execution_id"] and runs(api, made) == 2


def test_a_repetition_is_answered_also_when_the_job_is_disabled(api: Api) -> None:
    made = job(api)
    first = post(api, made, b"{}", headers(b"{}"))
    api.call("POST", f"/jobs/{made['id']}/disable")
    again = post(api, made, b"{}", headers(b"{}"))
    assert (again.status_code, again.json()) == (200, first.json())
    assert post(api, made, b'{"n": 1}', headers(b'{"n": 1}')).status_code == 409


def test_what_was_refused_may_come_again(api: Api) -> None:
    made = job(api)
    api.call("POST", f"/jobs/{made['id']}/disable")
    assert post(api, made, b"{}", headers(b"{}")).status_code == 409
    api.call("POST", f"/jobs/{made['id']}/enable")
    assert post(api, made, b"{}", headers(b"{}")).status_code == 200 and runs(api, made) == 1


def test_two_jobs_remember_apart_and_a_deleted_job_forgets(api: Api) -> None:
    one, two = job(api), job(api)
    answers = [post(api, each, b"{}", headers(b"{}")).json() for each in (one, two)]
    assert answers[0]["execution_id"] != answers[1]["execution_id"]
    api.call("DELETE", f"/jobs/{one['id']}")
    assert api.plane.stores.deliveries.answer(one["id"], [f"signed:{headers(b'{}')['X-Webhook-Signature']}"]) is None


def test_deliveries_are_forgotten_when_they_are_old_or_too_many(api: Api) -> None:
    made, store, now = job(api), api.plane.stores.deliveries, time.time()
    store.forget_old(now + 2 * KEPT)
    for number in range(5):
        store.remember(made["id"], [f"id:{number}"], {"n": number}, now + number)
    store.forget_old(now + KEPT + 1.5)
    kept = [store.answer(made["id"], [f"id:{number}"]) for number in range(5)]
    assert kept == [None, None, {"n": 2}, {"n": 3}, {"n": 4}]
    store.forget_old(now, most=1)
    assert [store.answer(made["id"], [f"id:{number}"]) for number in (3, 4)] == [None, {"n": 4}]


def test_old_deliveries_are_removed_in_the_background(api: Api) -> None:
    made, store = job(api)["id"], api.plane.stores.deliveries
    store.remember(made, ["id:old"], {}, time.time() - KEPT - 1)
    with contextlib.suppress(TimeoutError):
        asyncio.run(asyncio.wait_for(background.tidy(api.plane), 0.01))
    assert store.answer(made, ["id:old"]) is None


def test_a_replay_starts_nothing_after_a_restart(tmp_path: Path) -> None:
    with ControlPlane(tmp_path) as plane:
        made, body = job(plane), json.dumps({"title": "t"}).encode()
        given = [headers(body, X_Delivery="x"), headers(body, time.time())]
        first = [post(plane, made, body, each).json() for each in given]
        plane.start()
        assert [post(plane, made, body, each).json() for each in given] == first
        assert runs(plane, made) == 2
