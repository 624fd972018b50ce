"""Stopping all agents on the page at `/`, in a real browser."""

from __future__ import annotations

from typing import Any

from tests.support.control_plane import ControlPlane


def sign_in(page: Any, plane: ControlPlane) -> None:
    page.goto(plane.url)
    page.fill("#key", plane.key)
    page.keyboard.press("Enter")
    page.wait_for_selector("#stop-all:not([hidden])")


def test_all_agents_are_stopped_with_a_reason_and_let_go_on(page: Any, plane: ControlPlane) -> None:
    execution = plane.execute()
    sign_in(page, plane)
    page.click("#stop-all")
    page.wait_for_selector("#stop[open]")
    page.click("#stop-go")  # without a reason, the browser asks for one
    assert plane.call("GET", "/stop")["stopped"] is False
    page.fill("#stop-reason", "a key has <b>leaked</b>")
    page.keyboard.press("Enter")
    page.wait_for_selector("#stopped:not([hidden])")
    assert "a key has <b>leaked</b>" in page.inner_text("#stopped-text")
    assert "local user" in page.inner_text("#stopped-text")
    assert page.is_hidden("#stop-all")
    assert plane.call("GET", "/stop")["reason"] == "a key has <b>leaked</b>"
    assert plane.call("GET", f"/executions/{execution}")["status"] == "paused"
    page.click("#lift")
    page.wait_for_selector("#stopped", state="hidden")
    assert plane.call("GET", "/stop")["stopped"] is False


def test_a_stop_of_somebody_else_shows_and_a_viewer_is_not_offered_to_lift_it(page: Any, plane: ControlPlane) -> None:
    viewer = plane.call("POST", "/keys", {"name": "Vic", "role": "viewer"}, 201)["key"]
    page.goto(plane.url)
    page.fill("#key", viewer)
    page.keyboard.press("Enter")
    plane.call("POST", "/stop", {"reason": "elsewhere"})
    page.wait_for_selector("#stopped:not([hidden])")
    assert page.is_hidden("#lift") and page.is_hidden("#stop-all")
    plane.call("DELETE", "/stop")
    page.wait_for_selector("#stopped", state="hidden")
    assert page.is_hidden("#stop-all")
