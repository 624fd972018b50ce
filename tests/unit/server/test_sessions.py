"""C: a browser's session: the cookie, its CSRF token, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from kubiya_worker.server.access import NEEDS
from kubiya_worker.server.person import ROLES
from kubiya_worker.server.sessions import LONGEST
from tests.support.api import Api

Object = dict[str, Any]
NO_KEY = {"Authorization": ""}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with Api(tmp_path) as made:
        yield made


class Browser:
    """A client without a key, which keeps its cookies as a browser does."""

    def __init__(self, api: Api, headers: Object, origin: str = "http://kubiya") -> None:
        told = api.ask("POST", "/session", headers={**headers, "Origin": origin})
        assert told.status_code == 200, told.text
        self.api, self.header = api, told.headers["set-cookie"]
        self.cookie = self.header.partition(";")[0]
        self.csrf = told.json()["csrf_token"]
        api.forget_cookies()

    def ask(self, method: str, path: str, body: Any = None, **headers: str | bytes) -> httpx.Response:
        told = self.api.ask(method, path, body, key=False, headers={"Cookie": self.cookie, **headers})
        self.api.forget_cookies()
        return told

    def write(self, method: str, path: str, body: Any = None, **headers: str | bytes) -> httpx.Response:
        return self.ask(method, path, body, **{"X-CSRF-Token": self.csrf, "Origin": "http://kubiya", **headers})


def test_a_session_stands_for_the_person_of_its_key(api: Api) -> None:
    browser = Browser(api, api.key("approver", "Ann", email="ann@example.org", groups=["sre"])["headers"])
    assert browser.ask("GET", "/auth/validate").json()["user_email"] == "ann@example.org"
    told = browser.ask("GET", "/session").json()
    user = {"id": "ann@example.org", "name": "Ann", "email": "ann@example.org", "role": "approver", "groups": ["sre"]}
    assert told == {"user": user, "may": told["may"], "csrf_token": browser.csrf}
    assert browser.write("POST", "/agents", {"name": "x"}).status_code == 403  # the role is asked as for a key


def test_a_session_says_which_routes_its_person_may_call(api: Api) -> None:
    """A page offers what stands here: it has no list of its own that could differ from what is refused."""
    may = {role: Browser(api, api.key(role, role)["headers"]).ask("GET", "/session").json()["may"] for role in ROLES}
    for role in ROLES:
        assert may[role] == [route for route, need in NEEDS.items() if role in need.roles]
    assert "POST /stop" in may["operator"] and "POST /stop" not in may["viewer"] and "GET /audit" in may["admin"]
    limited = Browser(api, api.key("admin", "Lim", agents=["ops"])["headers"]).ask("GET", "/session").json()["may"]
    assert not [route for route in limited if NEEDS[route].whole] and "POST /agents/{entity}/execute" in limited


@pytest.mark.parametrize(("origin", "secure"), [("http://kubiya", False), ("https://kubiya", True)])
def test_the_cookie_is_for_this_server_alone(api: Api, origin: str, secure: bool) -> None:
    header = Browser(api, api.key("viewer")["headers"], origin).header.lower()
    assert "httponly" in header and "samesite=strict" in header and "path=/" in header
    assert ("; secure" in header) == secure


@pytest.mark.parametrize(
    "headers",
    [
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "0" * 64},
        {"X-CSRF-Token": "é"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
def test_a_write_without_the_token_or_from_another_origin_is_refused(api: Api, headers: dict[str, str]) -> None:
    browser = Browser(api, api.key("admin")["headers"])
    writes: list[tuple[str, str, Object | None]] = [
        ("POST", "/stop", {"reason": "r"}),
        ("DELETE", "/sessions", None),
        ("POST", "/batch", {}),
    ]
    for method, path, body in writes:
        told = browser.write(method, path, body, **{name: value.encode() for name, value in headers.items()})
        assert told.status_code == 403 and "CSRF" in told.json()["detail"]
    assert browser.ask("GET", "/stop").json() == {"stopped": False}
    assert browser.write("POST", "/stop", {"reason": "r"}).status_code == 200


def test_a_session_ends_by_signing_out_here_or_everywhere(api: Api) -> None:
    ann = api.key("viewer", "Ann", email="ann@example.org")["headers"]
    again = api.key("admin", "Ann", email="Ann@example.org")["headers"]
    one, two, three = Browser(api, ann), Browser(api, ann), Browser(api, again)
    other = Browser(api, api.key("viewer")["headers"])
    gone = one.write("DELETE", "/session")
    recorded = [record["action"] for record in api.call("GET", "/audit?limit=100")]
    assert {"session.begin", "session.end"} <= set(recorded)
    assert "max-age=0" in gone.headers["set-cookie"].lower()
    assert [b.ask("GET", "/session").status_code for b in (one, two, three, other)] == [401, 200, 200, 200]
    assert two.write("DELETE", "/sessions").json() == {"ended": 2}
    assert [b.ask("GET", "/session").status_code for b in (one, two, three, other)] == [401, 401, 401, 200]
    api.call("GET", "/session", headers=ann)  # the key stays


def test_a_session_ends_with_its_key_and_after_its_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = api.key("viewer")
    browser, other = Browser(api, made["headers"]), Browser(api, api.key("viewer")["headers"])
    api.call("DELETE", f"/keys/{made['id']}")
    assert (browser.ask("GET", "/agents").status_code, other.ask("GET", "/agents").status_code) == (401, 200)
    there = time.time
    monkeypatch.setattr(time, "time", lambda: there() + LONGEST)
    assert other.ask("GET", "/agents").status_code == 401


def test_a_cookie_is_not_in_the_database_and_none_begins_a_session(api: Api, tmp_path: Path) -> None:
    browser = Browser(api, api.key("viewer")["headers"])
    rows = str(api.plane.database.execute(text("select * from browser_sessions")).all())
    assert browser.cookie.partition("=")[2] not in rows and browser.csrf not in rows
    assert browser.write("POST", "/session").status_code == 400
    assert api.ask("POST", "/session", key=False).status_code == 401


def test_metrics_are_for_this_host_and_for_keys(api: Api) -> None:
    asked = api.ask("GET", "//metrics", key=False)
    assert asked.status_code == 200 and "kubiya_control_plane_executions" in asked.text
    through = {"X-Forwarded-For": "203.0.113.7"}
    assert api.ask("GET", "//metrics", key=False, headers=through).status_code == 401
    assert api.ask("GET", "//metrics", headers={**api.key("viewer")["headers"], **through}).status_code == 200
