"""Hooks and notifications on the page: their address, what came and was told, and a test. In a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.support.browser import accessible_page, in_every_view, sign_in
from tests.support.receiver import Receiver
from tests.support.stack import Stack

HOOK: dict[str, Any] = {
    "kind": "Hook",
    "name": "disk-alerts",
    "spec": {
        "source": "alertmanager",
        "agent": "ops",
        "prompt": "Look at {{title}}",
        "proof": {"kind": "bearer", "secret": "{{.secret.HOOK}}"},
    },
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    patch = pytest.MonkeyPatch()
    patch.setenv("KUBIYA_NOTIFY_NETWORKS", "127.0.0.0/8")
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        running.call("PUT", "/secrets/HOOK", {"value": "a-secret-of-the-hook"})
        running.call("POST", "/definitions/apply", {"documents": [HOOK]})
        running.worker()
        patch.undo()
        yield running


def notification(stack: Stack, name: str, url: str) -> None:
    channel = {"type": "ntfy", "url": url, "topic": "t"}
    stack.call("POST", "/notifications", {"name": name, "channel": channel, "events": ["run_failed"]})


def test_a_hook_tells_its_address_and_what_came(page: Any, stack: Stack) -> None:
    sign_in(page, stack, "#/definitions/Hook/disk-alerts?tab=deliveries")
    view = page.locator("#definition-deliveries")
    view.locator("h3", has_text="Last deliveries").wait_for()
    assert view.locator(".command code").inner_text() == f"{stack.url}/hooks/disk-alerts"
    assert view.locator("button", has_text="Copy").get_attribute("aria-label") == "Copy: the address"
    assert page.is_hidden("#definition-save")
    # A try starts nothing, and says what a delivery would become.
    view.locator("button", has_text="Test with a sample").click()
    outcome = view.locator(".test-outcome")
    outcome.locator("text=Nothing is started").wait_for()
    assert "started" in outcome.inner_text() and "Look at " in outcome.inner_text()
    assert stack.call("GET", "/hooks/disk-alerts/deliveries") == []
    # Somebody without the proof is refused, and the owner sees that.
    assert requests.post(f"{stack.url}/hooks/disk-alerts", json={}, timeout=30).status_code == 401
    # One that starts is in the list, with its run.
    view.locator("button", has_text="Start an execution with a sample").focus()
    page.keyboard.press("Enter")
    row = view.locator(".deliveries > li", has=page.locator(".status", has_text="started"))
    row.wait_for()
    assert view.locator(".deliveries .status", has_text="refused").count() == 1
    run = row.locator("a", has_text="its execution").get_attribute("href")
    assert run == f"#/executions/{stack.call('GET', '/hooks/disk-alerts/deliveries')[0]['execution_id']}"
    page.wait_for_function("() => document.activeElement.textContent === 'Start an execution with a sample'")


def test_a_notification_is_tested_and_its_messages_are_listed(page: Any, stack: Stack) -> None:
    with Receiver() as receiver:
        notification(stack, "on call", receiver.url)
        sign_in(page, stack, "#/definitions/Notification/on%20call?tab=deliveries")
        view = page.locator("#definition-deliveries")
        view.locator("text=Nothing was told yet.").wait_for()
        view.locator("button", has_text="Send a test").click()
        view.locator(".test-outcome", has_text="The channel took it.").wait_for()
        assert view.locator(".deliveries .status").all_inner_texts() == ["sent"]
        assert view.locator("button", has_text="Try the dead").count() == 0
        receiver.answers.append(503)
        view.locator("button", has_text="Send a test").click()
        view.locator(".test-outcome .error", has_text="answers 503").wait_for()
        assert view.locator(".deliveries .status").all_inner_texts() == ["dead", "sent"]
        view.locator("button", has_text="Try the dead ones again").click()
        view.locator(".test-outcome", has_text="One is tried again.").wait_for()


def test_who_may_only_look_tests_nothing_and_other_kinds_have_no_deliveries(page: Any, stack: Stack) -> None:
    key = stack.call("POST", "/keys", {"name": "Vi", "role": "viewer"})["key"]
    page.goto(f"{stack.url}/#/definitions/Hook/disk-alerts?tab=deliveries")
    page.fill("#key", key)
    page.keyboard.press("Enter")
    page.wait_for_selector("#definition-deliveries h3")
    assert page.locator("#definition-deliveries .actions button:visible").count() == 0
    assert "alerts" in page.inner_text("#definition-about")  # whichever part is opened first
    page.goto(f"{stack.url}/#/definitions/Agent/ops?tab=deliveries")
    page.wait_for_selector("#definition-fields .field")
    assert page.locator('#definition-tabs a[data-tab="deliveries"]').is_hidden()


@in_every_view
def test_deliveries_are_readable_for_everybody(browser: Any, stack: Stack, scheme: str, width: int) -> None:
    notification(stack, f"nobody {scheme} {width}", "http://127.0.0.1:1024")
    with accessible_page(browser, width, scheme) as (page, check):
        sign_in(page, stack, "#/definitions/Hook/disk-alerts?tab=deliveries")
        page.wait_for_selector("#definition-deliveries h3")
        page.locator("#definition-deliveries button", has_text="Test with a sample").click()
        page.wait_for_selector(".test-outcome p")
        check("a hook")
        page.goto(f"{stack.url}/#/definitions/Notification/nobody%20{scheme}%20{width}?tab=deliveries")
        page.locator("#definition-deliveries button", has_text="Send a test").click()
        page.wait_for_selector(".test-outcome .error")
        check("a notification")
