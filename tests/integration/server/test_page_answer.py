"""The page of a message's link, in a real browser: it shows the request, and its button answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import accessible_page
from tests.support.control_plane import ControlPlane
from tests.support.receiver import Receiver


@pytest.fixture
def plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlPlane]:
    monkeypatch.setenv("KUBIYA_NOTIFY_NETWORKS", "127.0.0.0/8")
    with ControlPlane(tmp_path) as made:
        yield made


@pytest.mark.parametrize(("decision", "scheme"), [("approve", "light"), ("reject", "dark")])
def test_a_link_is_opened_and_answered(plane: ControlPlane, browser: Any, decision: str, scheme: str) -> None:
    plane.call("PUT", "/secrets/HOOK", {"value": "a secret of the hook"})
    plane.call("POST", "/keys", {"name": "Ann", "role": "approver", "email": "ann@example.org"}, 201)
    with Receiver() as receiver:
        hook = {"type": "webhook", "url": receiver.url, "secret": "{{.secret.HOOK}}", "person": "ann@example.org"}
        plane.call("POST", "/notifications", {"name": "n", "channel": hook, "events": ["approval_waiting"]}, 201)
        about = {"tool_name": "shell", "tool_args": {"command": "systemctl restart nginx"}, "reason": "It changes one"}
        approval = plane.call("POST", "/approvals", {"execution_id": plane.execute(), **about}, 201)
        url = receiver.wait(1)[0].json["data"]["answer"]
    with accessible_page(browser, 390, scheme) as (page, check):
        page.goto(url)
        assert "systemctl restart nginx" in page.inner_text("main")
        check("the request")
        page.fill("input[name=reason]", "It is known")
        page.click(f"button[value={decision}]")
        page.locator("h1", has_text="Answered").wait_for()  # an expression given as text is against the page's CSP
        assert "by Ann" in page.inner_text("main")
        check("the outcome")
    found = plane.call("GET", f"/approvals/{approval['id']}")
    assert found["status"] == ("approved" if decision == "approve" else "rejected")
