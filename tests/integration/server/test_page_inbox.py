"""The page's inbox and its search, in a real browser before a real stack."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import unquote

import pytest

from tests.support.browser import accessible_page, in_every_view, sign_in
from tests.support.demo_scripts import script
from tests.support.stack import Stack, wait_until

FILES = {"name": "files", "type": "file_system", "configuration": {}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, shared_temporal: str) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), temporal=shared_temporal) as running:
        running.worker()
        running.agent("painter", skills=[FILES])
        running.queue("idle")
        yield running


def ask(stack: Stack, *contents: str) -> list[str]:
    """Start an execution for each content, one after the other, which asks whether it may be written."""
    found: list[str] = []
    for content in contents:
        known = len(stack.call("GET", "/approvals/pending"))
        tool = {"name": "save_file", "arguments": {"path": "note.txt", "content": content}}
        found.append(stack.execute(script({"tools": [tool]}, {"text": "Done."}), agent="painter"))
        wait_until(partial(_asked, stack, known + 1), 60, "it has asked")
    return found


def _asked(stack: Stack, count: int) -> bool:
    return len(stack.call("GET", "/approvals/pending")) >= count


def written(stack: Stack, execution: str) -> str:
    assert stack.wait(execution)["status"] == "completed"
    return (stack.folder / "workspaces" / execution / "note.txt").read_text()


def test_requests_are_read_changed_and_answered_by_keyboard(page: Any, stack: Stack) -> None:
    (first,) = ask(stack, "one\ntwo\nthree")
    sign_in(page, stack, "#/inbox")
    page.click("#inbox-rows a")
    page.wait_for_selector("#request:not([hidden])")
    page.click("#request-approve")
    assert written(stack, first) == "one\ntwo\nthree"
    page.locator("#no-inbox", has_text="Nothing waits for a person.").wait_for()

    now = datetime.now(UTC)
    page.clock.set_fixed_time(now)  # however slow the machine is, everything is seen for no time
    edited, denied = ask(stack, "one\n2\nthree", "never")
    page.locator("#inbox-rows a").nth(1).wait_for()
    assert page.inner_text("#inbox-count") == "2"
    page.focus("#inbox-rows a")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.wait_for_selector(".difference")
    assert page.locator(".difference del").all_text_contents() == ["removed: - two\n"]
    assert page.locator(".difference ins").all_text_contents() == ["added: + 2\n"]
    assert "persons with the role" in page.inner_text("#request-body")
    page.keyboard.press("a")  # at once: a press that was meant for the request before this one
    assert page.is_visible("#request-approve")
    page.keyboard.press("e")
    page.fill(".editing textarea", '{"path": "note.txt", "content": "changed"}')
    page.locator(".editing ins", has_text="changed").wait_for()
    page.click("#request-approve")
    assert written(stack, edited) == "changed"
    page.locator("#request-body", has_text="never").wait_for()  # the next one opens by itself
    page.fill("#request-reason", "not today")
    page.click("#request-title")
    page.clock.set_fixed_time(now + timedelta(seconds=1.1))  # keys answer nothing seen for less than 1 s
    page.keyboard.press("r")
    (told,) = [e["data"] for e in stack.events(denied) if e["event"] == "approval_resolved"]
    assert (told["status"], told["rejection_reason"]) == ("rejected", "not today")


def test_several_requests_of_one_tool_are_answered_at_once(page: Any, stack: Stack) -> None:
    executions = ask(stack, "a", "b", "c")
    sign_in(page, stack, "#/inbox")
    page.locator("#inbox-rows input").nth(2).wait_for()
    for number in range(3):
        page.locator("#inbox-rows input").nth(number).check()
    page.locator("#batch-approve", has_text="Approve 3").wait_for()
    assert "content=b" in page.inner_text("#batch-words")
    page.click("#batch-approve")
    assert [written(stack, execution) for execution in executions] == ["a", "b", "c"]
    page.wait_for_selector("#batch", state="hidden")


def test_executions_are_searched_paged_and_kept_as_a_view(page: Any, stack: Stack) -> None:
    for number in range(55):
        stack.execute(f"Look at host web-{number}", agent="painter", queue="idle")
    sign_in(page, stack, "#/?queue=idle")
    page.locator("#rows li").nth(49).wait_for()
    assert page.input_value("#by-queue") == "idle"
    page.click("#older")
    page.locator("#page-number", has_text="Page 2").wait_for()
    page.wait_for_function("() => document.querySelectorAll('#rows li').length === 5")
    assert page.is_disabled("#older")
    page.fill("#search", "web-17")
    page.wait_for_function("() => document.querySelectorAll('#rows li').length === 1")
    assert unquote(page.evaluate("location.hash")) == "#/?text=web-17&queue=idle"
    page.click("#filters summary")
    page.fill("#view-name", "One host")
    page.click("#save-view")
    page.click("#clear-filters")
    page.locator("#rows li").nth(40).wait_for()
    page.reload()
    page.locator("#views a", has_text="One host").click()
    page.wait_for_function("() => document.querySelectorAll('#rows li').length === 1")
    assert page.input_value("#search") == "web-17"
    page.click("#filters summary")
    page.click("#forget-view")
    page.locator("#views a", has_text="One host").wait_for(state="detached")


@pytest.mark.slow
@in_every_view
def test_the_inbox_is_readable_for_everybody(browser: Any, stack: Stack, scheme: str, width: int) -> None:
    executions = ask(stack, "line\n" * 30)
    with accessible_page(browser, width, scheme) as (page, check):
        sign_in(page, stack)
        page.click("#filters summary")
        check("the filters")
        page.goto(f"{stack.url}/#/inbox")
        page.locator("#inbox-rows input").first.check()
        check("the inbox")
        page.locator("#inbox-rows a").first.click()
        page.wait_for_selector("#request:not([hidden])")
        page.click("#request-edit")
        check("a request")
        page.click("#request-deny")
    assert stack.wait(executions[0])["status"] == "completed"
