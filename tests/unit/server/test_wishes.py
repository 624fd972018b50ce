"""People wish that a worker drains or is restarted; the worker learns it with the answer to its heartbeat."""

from __future__ import annotations

import uuid

from tests.support.api import Api, Object


def worker(api: Api, *wishes: str, **start: str) -> str:
    made: str = api.call("POST", "/worker-queues/default/start", {"system_info": {"hostname": "db-3"}, **start})[
        "worker_id"
    ]
    beat(api, made, *wishes)
    return made


def beat(api: Api, worker_id: str, *wishes: str) -> Object | None:
    told = {"worker_metadata": {"wishes": list(wishes)}}
    found: Object | None = api.call("POST", f"/workers/{worker_id}/heartbeat", told)
    return found


def test_a_wish_reaches_the_worker_with_its_next_heartbeat(api: Api) -> None:
    one = worker(api, "drain", "restart")
    assert beat(api, one, "drain", "restart") is None
    asked = api.call("POST", f"/workers/{one}/drain", {"reason": "new kernel"})
    assert (asked["wish"]["action"], asked["wish"]["reason"]) == ("drain", "new kernel")
    answer = beat(api, one, "drain", "restart")
    assert answer is not None and answer["wish"] == asked["wish"]
    record = api.call("GET", "/audit?limit=1")[0]
    assert (record["action"], record["object"]["name"], record["reason"]) == ("worker.drain", "db-3", "new kernel")
    assert api.call("POST", f"/workers/{one}/undrain")["wish"] is None
    assert beat(api, one, "drain", "restart") is None
    assert "Nobody has asked" in api.call("POST", f"/workers/{one}/undrain", None, 409)["detail"]
    api.call("POST", f"/workers/{one}/drain", {"reason": "x" * 201}, 422)


def test_a_worker_is_asked_only_for_what_it_can_do(api: Api) -> None:
    foreign, alone = worker(api), worker(api, "drain")
    assert "does not take wishes" in api.call("POST", f"/workers/{foreign}/drain", {}, 409)["detail"]
    assert "would start this worker again" in api.call("POST", f"/workers/{alone}/restart", {}, 409)["detail"]
    api.call("POST", f"/workers/{uuid.uuid4()}/drain", {}, 404)
    api.call("POST", f"/workers/{alone}/disconnect", {})
    api.call("POST", f"/workers/{alone}/drain", {}, 404)


def test_a_drain_outlives_the_process_and_a_restart_does_not(api: Api) -> None:
    name = uuid.uuid4().hex
    one = worker(api, "drain", "restart", worker_id=name)
    api.call("POST", f"/workers/{one}/restart", {})
    assert worker(api, "drain", worker_id=name) == name
    assert beat(api, name, "drain") is None
    api.call("POST", f"/workers/{one}/drain", {"reason": "maintenance"})
    again = api.call("POST", "/worker-queues/default/start", {"worker_id": name})
    assert again["wish"]["reason"] == "maintenance"
    beat(api, name, "drain", "restart")
    for _ in range(2):
        assert api.call("POST", f"/workers/{one}/restart", {})["wish"]["action"] == "restart"
    again = api.call("POST", "/worker-queues/default/start", {"worker_id": name})
    assert (again["wish"]["action"], again["wish"]["reason"]) == ("drain", "maintenance")


def test_operators_may_and_viewers_and_workers_may_not(api: Api) -> None:
    one = worker(api, "drain")
    for role in ("viewer", "worker"):
        api.call("POST", f"/workers/{one}/drain", {}, 403, headers=api.key(role)["headers"])
    other = api.call("POST", "/environments/default/worker-queues", {"name": f"other-{uuid.uuid4().hex[:6]}"})["name"]
    api.call("POST", f"/workers/{one}/drain", {}, 404, headers=api.key("operator", queues=[other])["headers"])
    asked = api.call("POST", f"/workers/{one}/drain", {}, 200, headers=api.key("operator", "Grace")["headers"])
    assert asked["wish"]["by"]["name"] == "Grace"
