"""The audit records on the page at `/`, and what the page offers to whom, in a real browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.server.access import NEEDS
from kubiya_worker.server.person import ADMIN, ROLES, WORKER
from tests.support.browser import accessible_page, in_every_view, wait_for_words
from tests.support.control_plane import ControlPlane

DASHBOARD = Path(__file__).parents[3] / "kubiya_worker/server/dashboard"
NEEDED = re.compile(r'"((?:GET|POST|PUT|PATCH|DELETE) /[^"]*)"')


def sign_in(page: Any, url: str, key: str) -> None:
    page.goto(url)
    page.fill("#key", key)
    page.keyboard.press("Enter")
    page.wait_for_selector("#app:not([hidden])")


def test_every_route_that_an_element_needs_is_in_the_table() -> None:
    found = [route for file in DASHBOARD.glob("*.*") for route in NEEDED.findall(file.read_text())]
    assert len(found) > 15 and [route for route in found if route not in NEEDS] == []


def test_records_are_filtered_opened_checked_and_exported(page: Any, plane: ControlPlane) -> None:
    from playwright.sync_api import expect

    agent = plane.call("POST", "/agents", {"name": "audited", "description": "<b>old</b>"}, 201)["id"]
    plane.call("PATCH", f"/agents/{agent}", {"description": "new", "system_prompt": "Never shown."})
    eve = plane.call("POST", "/keys", {"name": "Eve", "role": "viewer"}, 201)["key"]
    plane.http.post(f"{plane.url}/api/v1/agents", json={"name": "x"}, headers={"Authorization": f"Bearer {eve}"})
    sign_in(page, f"{plane.url}/#/audit", plane.key)
    page.select_option("#audit-kind", "agent")
    page.wait_for_selector("#audit-rows .row-prompt:text-is('audited')")
    expect(page.locator("#audit-rows .status", has_not_text="agent.")).to_have_count(0)
    page.click("#audit-rows li:has-text('agent.update'):has-text('audited') a")
    page.wait_for_selector("#record:not([hidden])")
    table = page.inner_text("#record .differences")
    assert "<b>old</b>" in table and "new" in table
    assert "sha256:" in table and "Never shown." not in page.inner_text("#record")
    facts = page.inner_text("#record-body dl")
    assert "local user" in facts and "127.0.0.1" in facts and "PATCH /api/v1/agents/{entity}" in facts
    page.reload()  # the address of a record is enough
    page.wait_for_selector("#record:not([hidden]) .differences")
    page.fill("#audit-person", "eve")
    page.select_option("#audit-outcome", "refused")
    expect(page.locator("#audit-rows li")).to_have_count(1)
    assert page.inner_text("#audit-rows .row-facts").startswith("Eve")
    page.select_option("#audit-since", "hour")
    page.fill("#audit-person", "nobody of this name")
    wait_for_words(page, "#no-audit", "No record fits.")
    page.click("#audit-verify")
    expect(page.locator("#audit-told")).to_contain_text("none was changed")
    with page.expect_download() as downloaded:
        page.click("#audit-export")
    lines = Path(downloaded.value.path()).read_text().splitlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, len(lines) + 1))
    page.goto(f"{plane.url}/#/audit/999999")
    page.wait_for_selector("#nothing:not([hidden]):has-text('There is no record 999999')")


@pytest.mark.parametrize("role", [role for role in ROLES if role != WORKER])
def test_the_page_offers_what_the_role_may_do_and_nothing_else(page: Any, plane: ControlPlane, role: str) -> None:
    execution = plane.execute()
    key = plane.call("POST", "/keys", {"name": f"a {role}", "role": role}, 201)["key"]
    sign_in(page, f"{plane.url}/#/executions/{execution}", key)
    page.wait_for_selector("#execution:not([hidden])")
    page.wait_for_selector("#workers:not([hidden])")  # the first look at the lists is over
    offered = page.eval_on_selector_all(
        "[data-needs]", "all => all.filter(e => !('refused' in e.dataset)).map(e => e.dataset.needs)"
    )
    refused = page.eval_on_selector_all(
        "[data-needs]", "all => all.filter(e => 'refused' in e.dataset).map(e => e.dataset.needs)"
    )
    assert {route for route in offered if role not in NEEDS[route].roles} == set()
    assert {route for route in refused if role in NEEDS[route].roles} == set()
    runs = role in ("operator", ADMIN)
    shown = {name: page.is_visible(f"#{name}") for name in ("new", "cancel", "composer", "tab-audit", "stop-all")}
    assert shown == {
        **dict.fromkeys(("new", "cancel", "composer"), runs),
        "tab-audit": role == ADMIN,
        "stop-all": role != "viewer",
    }
    page.goto(f"{plane.url}/#/audit")  # typed by hand: there is nothing to see
    page.wait_for_url(f"{plane.url}/#/{'audit' if role == ADMIN else ''}")
    plane.call("POST", f"/executions/{execution}/cancel", {})


@in_every_view
def test_the_records_are_accessible(browser: Any, plane: ControlPlane, width: int, scheme: str) -> None:
    agent = plane.call("POST", "/agents", {"name": f"wide-{width}", "description": "d" * 300}, 201)["id"]
    plane.call("PATCH", f"/agents/{agent}", {"description": "e" * 300})
    with accessible_page(browser, width, scheme) as (page, check):
        sign_in(page, f"{plane.url}/#/audit", plane.key)
        page.wait_for_selector("#audit-rows li")
        check("the list")
        page.click("#audit-rows li:has-text('agent.update') a")
        page.wait_for_selector("#record:not([hidden])")
        check("a record")
