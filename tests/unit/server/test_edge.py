"""One route's way through a request: who asks, whether they may, what is read, and how the answer or refusal leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from pydantic import ConfigDict
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse

from kubiya_worker.server import actor
from kubiya_worker.server.call import Call
from kubiya_worker.server.edge import Edge
from kubiya_worker.server.edges.base import Filters, NoFilters, Nothing, Strict, Wire
from kubiya_worker.server.refusals import ApiError
from kubiya_worker.server.store.database import Stale
from tests.support.api import Api

Object = dict[str, Any]
LIMIT: Final = 60  # seconds for a hang


class Named(Strict):
    name: str


class Sent(Wire):
    model_config = ConfigDict(extra="ignore")

    name: str


class Aged(Filters):
    age: int


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with Api(tmp_path) as running:
        yield running


class Served:
    """One route of the running control plane's, with a handler of the test."""

    def __init__(self, api: Api, edge: Edge) -> None:
        app = Starlette(routes=[edge])
        app.state.plane = api.plane
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self._api = api
        self._http = httpx.AsyncClient(transport=transport, base_url="http://kubiya/api/v1")
        self._headers = {"Authorization": f"Bearer {api.plane.stores.keys.create()}"}

    def ask(self, method: str, path: str, headers: Object | None = None, **options: Any) -> httpx.Response:
        answers: list[httpx.Response] = []

        async def send() -> None:
            used = self._headers if headers is None else headers
            answers.append(await self._http.request(method, path, headers=used, **options))

        self._api.run(send())
        return answers[0]


def refusals(api: Api) -> list[tuple[str, int]]:
    """Return (action, status) of the refusals on record, oldest first."""
    found: list[Object] = api.call("GET", "/audit?limit=1000&outcome=refused")
    return [(record["action"], record["status"]) for record in reversed(found)]


def all_records(api: Api) -> list[Object]:
    """Return every record of the database, whatever organization it is of."""
    rows = api.plane.database.execute(text("select record from audit order by seq")).all()
    return [json.loads(record) for (record,) in rows]


async def given(call: Call) -> Any:
    return call.fields


@pytest.mark.parametrize(
    ("content", "status", "wanted"),
    [
        ({"id": "a"}, 201, (201, '{"id":"a"}', "application/json")),
        ([], 200, (200, "[]", "application/json")),
        (None, 200, (204, "", None)),
        (None, 202, (202, "", None)),
        (PlainTextResponse("as it is", 418), 201, (418, "as it is", "text/plain; charset=utf-8")),
    ],
)
def test_the_result_of_the_handler_becomes_the_reply(
    api: Api, content: Any, status: int, wanted: tuple[int, str, str | None]
) -> None:
    async def handler(call: Call) -> Any:
        return content

    answer = Served(api, Edge("POST", "/agents", handler, status)).ask("POST", "/agents")
    assert (answer.status_code, answer.text, answer.headers.get("content-type")) == wanted


@pytest.mark.parametrize(
    ("method", "path", "models", "wanted"),
    [
        ("GET", "/agents", {}, (None, NoFilters)),
        ("DELETE", "/agents/{entity}", {}, (None, NoFilters)),
        ("POST", "/agents", {}, (Nothing, NoFilters)),
        ("PUT", "/approval-rules/{rule}", {}, (Nothing, NoFilters)),
        ("PATCH", "/agents/{entity}", {"body": Named, "query": Aged}, (Named, Aged)),
        ("POST", "/approvals", {"body": Sent}, (Sent, None)),  # what a worker sends has unknown fields and filters
    ],
)
def test_a_route_takes_nothing_that_it_does_not_name(
    method: str, path: str, models: Object, wanted: tuple[Any, Any]
) -> None:
    edge = Edge(method, path, given, **models)
    assert (edge.models.body, edge.models.query) == wanted
    assert (edge.method, edge.path, edge.status) == (method, f"/api/v1{path}", 200)


@pytest.mark.parametrize(
    ("edge", "url", "body", "place"),
    [
        (Edge("POST", "/agents", given), "/agents", {"name": "a"}, ["body", "name"]),
        (Edge("POST", "/agents", given, body=Named), "/agents", {}, ["body", "name"]),
        (Edge("POST", "/agents", given, body=Named), "/agents?x=1", {"name": "a"}, ["query", "x"]),
        (Edge("GET", "/agents", given), "/agents?x=1", None, ["query", "x"]),
        (Edge("GET", "/agents", given, query=Aged), "/agents", None, ["query", "age"]),
        (Edge("GET", "/agents", given, query=Aged), "/agents?age=old", None, ["query", "age"]),
        (Edge("POST", "/agents", given, body=Named, query=Aged), "/agents", {}, ["query", "age"]),  # the query first
    ],
)
def test_what_a_request_brings_is_checked_by_the_routes_models(
    api: Api, edge: Edge, url: str, body: Any, place: list[str]
) -> None:
    answer = Served(api, edge).ask(edge.method, url, json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == place


def test_a_workers_route_takes_fields_and_filters_that_it_does_not_know(api: Api) -> None:
    served = Served(api, Edge("POST", "/approvals", given, body=Sent))
    answer = served.ask("POST", "/approvals?x=1", json={"name": "a", "later": 1})
    assert (answer.status_code, answer.json()) == (200, {"name": "a"})


def test_a_handler_gets_its_filters_and_the_parameters_of_its_path(api: Api) -> None:
    async def handler(call: Call) -> Any:
        return [call.path("entity"), call.filters(Aged).age, call.fields, call.person.name]

    edge = Edge("GET", "/agents/{entity}", handler, query=Aged)
    assert Served(api, edge).ask("GET", "/agents/ops?age=7").json() == ["ops", 7, {}, "local user"]


@pytest.mark.parametrize(
    ("audit", "wanted"), [("agent.create", [("agent.create", 401)]), ("", [])], ids=["recorded", "silent"]
)
def test_a_request_without_a_key_is_refused_before_the_handler(
    api: Api, audit: str, wanted: list[tuple[str, int]]
) -> None:
    async def handler(call: Call) -> Any:
        raise AssertionError("called")

    api.plane.stores.keys.create()
    answer = Served(api, Edge("POST", "/agents", handler, audit=audit)).ask("POST", "/agents", headers={})
    assert (answer.status_code, answer.json()["detail"]["error"]) == (401, "Unauthorized")
    unknown = Served(api, Edge("POST", "/agents", handler, audit=audit)).ask(
        "POST", "/agents", headers={"Authorization": "Bearer kby_unknown"}
    )
    assert unknown.status_code == 401
    refused = [record for record in all_records(api) if record["outcome"] == "refused"]
    assert [(record["action"], record["status"]) for record in refused] == wanted * 2


@pytest.mark.parametrize(
    ("audit", "wanted"), [("agent.create", ("agent.create", 403)), ("", ("access.call", 403))], ids=["named", "unnamed"]
)
def test_a_role_that_may_not_is_refused_and_recorded(api: Api, audit: str, wanted: tuple[str, int]) -> None:
    async def handler(call: Call) -> Any:
        raise AssertionError("called")

    served = Served(api, Edge("POST", "/agents", handler, audit=audit))
    answer = served.ask("POST", "/agents", headers=api.key("viewer")["headers"])
    assert answer.status_code == 403 and "this needs admin" in answer.json()["detail"]
    assert refusals(api) == [wanted]


def test_a_write_by_a_cookie_needs_the_proof_that_it_comes_from_the_page(api: Api) -> None:
    signed_in = api.ask("POST", "/session", headers={"Origin": "http://kubiya"})
    cookie = {"Cookie": signed_in.headers["set-cookie"].partition(";")[0], "Origin": "http://kubiya"}
    served = Served(api, Edge("POST", "/agents", given, audit="agent.create"))
    answer = served.ask("POST", "/agents", headers=cookie)
    assert answer.status_code == 403 and "X-CSRF-Token" in answer.json()["detail"]
    assert refusals(api) == [("agent.create", 403)]
    proven = served.ask("POST", "/agents", headers={**cookie, "X-CSRF-Token": signed_in.json()["csrf_token"]})
    assert proven.status_code == 200
    read = Served(api, Edge("GET", "/agents", given)).ask("GET", "/agents", headers=cookie)
    assert read.status_code == 200


@pytest.mark.parametrize(
    ("status", "audit", "wanted"),
    [
        (409, "agent.create", [("agent.create", 409)]),
        (423, "agent.create", [("agent.create", 423)]),
        (403, "agent.create", [("agent.create", 403)]),
        (403, "", [("access.call", 403)]),
        (409, "", []),
        (404, "agent.create", []),
        (422, "agent.create", []),
    ],
)
def test_refusals_that_somebody_decided_are_recorded(
    api: Api, status: int, audit: str, wanted: list[tuple[str, int]]
) -> None:
    async def handler(call: Call) -> Any:
        raise ApiError(status, "no")

    answer = Served(api, Edge("POST", "/agents", handler, audit=audit)).ask("POST", "/agents")
    assert (answer.status_code, answer.json()) == (status, {"detail": "no"})
    assert refusals(api) == wanted


def test_the_handler_and_its_refusal_act_for_the_caller(api: Api) -> None:
    async def handler(call: Call) -> Any:
        now = actor.current()
        assert (now.person.name, now.request, now.reason) == ("Ann", "PATCH /api/v1/agents/{entity}", "to see")
        raise ApiError(409, "no")

    edge = Edge("PATCH", "/agents/{entity}", handler, audit="agent.update")
    headers = {**api.key("admin", "Ann")["headers"], "X-Kubiya-Reason": "to see"}
    assert Served(api, edge).ask("PATCH", "/agents/ops", headers=headers).status_code == 409
    record = all_records(api)[-1]
    assert (record["who"]["name"], record["request"]) == ("Ann", "PATCH /api/v1/agents/{entity}")
    assert (record["object"]["id"], record["reason"]) == ("ops", "to see")
    assert actor.current() is actor.PLANE


def test_a_database_that_fails_is_a_503_that_says_when_to_try_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = OperationalError("select 1", {}, ConnectionError("gone"))

    async def handler(call: Call) -> Any:
        raise fault

    answer = Served(api, Edge("GET", "/agents", handler)).ask("GET", "/agents")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    served = Served(api, Edge("GET", "/agents", given))

    def unreachable(key: str, address: str = "") -> None:
        raise fault

    monkeypatch.setattr(api.plane.stores.keys, "caller", unreachable)
    answer = served.ask("GET", "/agents")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_a_request_that_lost_a_race_is_run_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.plane.database, "again", lambda error: isinstance(error, Stale))
    tries: list[Object] = []

    async def handler(call: Call) -> Any:
        tries.append(call.fields)
        if len(tries) < 3:
            raise Stale
        return call.fields

    answer = Served(api, Edge("POST", "/agents", handler, body=Named)).ask("POST", "/agents", json={"name": "a"})
    assert (answer.status_code, tries) == (200, [{"name": "a"}] * 3)


@pytest.mark.parametrize(
    ("patient", "shared", "waits"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_a_patient_route_waits_for_its_turn_where_reads_have_no_connections_of_their_own(
    api: Api, monkeypatch: pytest.MonkeyPatch, patient: bool, shared: bool, waits: bool
) -> None:
    monkeypatch.setattr(api.plane.database, "shared", shared, raising=False)
    order: list[str] = []

    async def handler(call: Call) -> Any:
        order.append("read")

    edge = Edge("GET", "/executions", handler, patient=patient)
    served = Served(api, edge)

    async def look() -> None:
        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group, api.plane.readers.turn():
            asked = group.create_task(served._http.get("/executions", headers=served._headers))
            if not waits:
                await asked
            for _ in range(100):  # turns of the loop, of which a request takes a dozen
                await asyncio.sleep(0)
            order.append("turn ends")

    api.run(look())
    assert order == (["turn ends", "read"] if waits else ["read", "turn ends"])
