"""The fleet on the page: what each worker does, and why one is gone. In a real browser, with real workers."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import accessible_page, in_every_view, sign_in
from tests.support.stack import Stack, wait_until


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, shared_temporal: str) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), temporal=shared_temporal) as running:
        running.queue("idle")
        running.worker(KUBIYA_HEARTBEAT_INTERVAL="10")
        yield running


def test_each_worker_is_told_with_its_slots_its_steps_and_its_end(page: Any, stack: Stack) -> None:
    stack.wait(stack.execute("hello"))
    told = stack.call("GET", "/workers")[0]["worker_metadata"]
    assert told["slots"] >= 1
    sign_in(page, stack, "#/fleet/all")
    card = page.locator("#fleet-body .worker").first
    card.locator(".status", has_text="polls").wait_for()
    words = card.inner_text()
    assert "Slots" in words and "Version" in words and "Last pickup" in words and "Confinement" in words
    assert "1 of 1 poll" in page.inner_text("#fleet-rows")
    page.locator("#fleet-rows a", has_text="idle").click()
    page.locator("#fleet-none", has_text="No worker of this queue is alive").wait_for()
    assert "kubiya worker start --queue-id idle" in page.inner_text("#fleet-command")

    # One that is asked to end says so, and why it was.
    leaving = stack.worker(queue="idle")
    card = page.locator("#fleet-body .worker").first
    card.locator(".status", has_text="polls").wait_for()
    leaving.signal(signal.SIGTERM)
    leaving.wait()
    gone = page.locator("#fleet-gone .worker", has_text="Left because").first
    gone.locator(".status", has_text="left").wait_for()


def test_a_worker_that_has_to_be_restarted_says_why(page: Any, stack: Stack) -> None:
    # A card has the worker's id too, and hexadecimal digits alone (as `db-4`) can be a part of anybody's id.
    worker = stack.call("POST", "/worker-queues/idle/start", {})["worker_id"]
    death = {"class": "crash", "why": "killed by SIGKILL", "signal": 9, "code": None, "at": "2026-01-01T00:00:00Z"}
    told = {"hostname": "report-3", "polling": True, "state": "polling", "slots": 10, "active_tasks": 2}
    told |= {"must_restart": "its packages were changed", "restarts": {"crash": 2}, "last_death": death}
    stack.call("POST", f"/workers/{worker}/heartbeat", {"worker_metadata": told})
    sign_in(page, stack, "#/fleet/all")
    card = page.locator("#fleet-body .worker", has_text="report-3")
    card.locator(".status", has_text="must restart").wait_for()
    words = card.inner_text()
    for part in ("its packages were changed", "crash: 2", "killed by SIGKILL, signal 9", "2 of 10 taken"):
        assert part in words
    stack.call("POST", f"/workers/{worker}/heartbeat", {"worker_metadata": {"hostname": "report-3", "polling": False}})
    card.locator(".status", has_text="alive, does not poll").wait_for()
    wait_until(lambda: "of 2 workers poll" in page.inner_text("#workers"), 30, "the line on top says it")
    stack.call("POST", f"/workers/{worker}/disconnect", {})


def test_a_worker_is_drained_and_takes_work_again_by_keyboard(page: Any, stack: Stack) -> None:
    name = f"host-{uuid.uuid4().hex[:6]}"
    worker = stack.worker(queue="idle", HEARTBEAT_INTERVAL="1", WORKER_HOSTNAME=name, NOTIFY_SOCKET="")
    sign_in(page, stack, "#/fleet/all")
    card = page.locator("#fleet-body .worker", has_text=name)
    card.locator(".status", has_text="polls").wait_for()
    # Nothing would start this one again, so nobody is offered that.
    assert card.locator("button:visible").all_inner_texts() == ["Drain …"]
    card.locator("button", has_text="Drain").focus()
    page.keyboard.press("Enter")
    assert page.inner_text("#wish-title") == f"Drain the worker on {name}?"
    page.keyboard.type("new kernel")
    page.keyboard.press("Enter")
    card.locator(".status", has_text="drained").wait_for()
    told = card.locator(".wish-told").inner_text()
    assert "asked it to drain" in told and told.endswith(": new kernel."), told
    card.locator("button", has_text="Take work again").focus()
    page.keyboard.press("Enter")
    card.locator(".status", has_text="polls").wait_for()
    assert card.locator(".wish-told").is_hidden()
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_restart_is_asked_with_its_reason_and_what_is_refused_stands_there(page: Any, stack: Stack) -> None:
    worker = stack.call("POST", "/worker-queues/idle/start", {"system_info": {"hostname": "report-4"}})["worker_id"]
    told = {"hostname": "report-4", "polling": True, "state": "polling", "wishes": ["drain", "restart"]}
    stack.call("POST", f"/workers/{worker}/heartbeat", {"worker_metadata": told})
    sign_in(page, stack, "#/fleet/all")
    card = page.locator("#fleet-body .worker", has_text="report-4")
    card.locator("button", has_text="Restart").click()
    stack.call("POST", f"/workers/{worker}/heartbeat", {"worker_metadata": {**told, "wishes": ["drain"]}})
    page.click("#wish-go")
    page.wait_for_function(
        "() => document.getElementById('wish-error').textContent.includes('start this worker again')"
    )
    stack.call("POST", f"/workers/{worker}/heartbeat", {"worker_metadata": told})
    page.fill("#wish-reason", "it leaks")
    page.click("#wish-go")
    card.locator(".wish-told", has_text="asked it to restart").wait_for()
    assert card.locator(".wish-told").inner_text().endswith("it leaks. It learns that with its next heartbeat.")
    stack.call("POST", f"/workers/{worker}/disconnect", {})


def test_a_worker_says_what_is_wrong_with_its_host(page: Any, stack: Stack) -> None:
    name = f"host-{uuid.uuid4().hex[:6]}"
    worker = stack.worker(queue="idle", HEARTBEAT_INTERVAL="600", WORKER_HOSTNAME=name, KUBIYA_CONFINEMENT="off")
    sign_in(page, stack, "#/fleet/all")
    found = page.locator("#fleet-body .worker", has_text=name).locator(".findings li", has_text="confinement")
    found.wait_for()
    words = found.inner_text()
    assert words.startswith("warning confinement: off: tools may do what this user may do")
    assert "Mend: " in words and found.locator("code").inner_text()
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_viewer_sees_no_buttons_of_a_worker(page: Any, stack: Stack) -> None:
    key = stack.call("POST", "/keys", {"name": "Vi", "role": "viewer"})["key"]
    page.goto(f"{stack.url}/#/fleet/all")
    page.fill("#key", key)
    page.keyboard.press("Enter")
    page.wait_for_selector("#fleet-body .worker")
    assert page.locator("#fleet-body button:visible").count() == 0


@in_every_view
def test_the_fleet_is_readable_for_everybody(browser: Any, stack: Stack, scheme: str, width: int) -> None:
    with accessible_page(browser, width, scheme) as (page, check):
        sign_in(page, stack, "#/fleet/all")
        page.wait_for_selector("#fleet-body .worker")
        check("the workers")
        page.locator("#fleet-body button", has_text="Drain").first.click()
        page.wait_for_selector("#wish[open]")
        check("the question")
        page.click("#wish-close")
        page.goto(f"{stack.url}/#/fleet")
        page.wait_for_selector("#fleet-rows li", state="attached")
        check("the queues")
