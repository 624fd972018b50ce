"""A run's steps over time and its events, in a real browser before a real stack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import big_runs
from tests.support.browser import accessible_page, in_every_view, sign_in
from tests.support.demo_scripts import script
from tests.support.stack import Stack

SKILLS = [
    {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}},
    {"name": "files", "type": "file_system", "configuration": {}},
]
SAVE = {"name": "save_file", "arguments": {"path": "note.txt", "content": "kept"}}
ECHO = {"name": "shell", "arguments": {"command": "echo a word"}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, shared_temporal: str) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), temporal=shared_temporal) as running:
        running.worker()
        running.agent("painter", skills=SKILLS)
        yield running


@pytest.fixture(scope="module")
def run(stack: Stack) -> str:
    """Make a run with a tool, an approval and three model calls, and return its id."""
    execution = stack.execute(
        script({"text": "I look.", "tools": [ECHO]}, {"tools": [SAVE]}, {"text": "**Done**."}), agent="painter"
    )
    asked = stack.first(execution, "approval_requested")
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {"comment": "fine"})
    assert stack.wait(execution)["status"] == "completed"
    return execution


def kinds(page: Any) -> list[str]:
    found: list[str] = page.locator("#step-rows .step").evaluate_all("rows => rows.map((row) => row.dataset.kind)")
    return found


def step(page: Any, kind: str, name: str) -> Any:
    return page.locator(f'#step-rows .step[data-kind="{kind}"]', has_text=name)


def test_steps_show_what_went_in_and_out_and_what_judged_it(page: Any, stack: Stack, run: str) -> None:
    sign_in(page, stack, f"#/executions/{run}?tab=steps")
    step(page, "tool", "save_file").last.wait_for()
    wanted = ["person", "model", "tool", "model", "approval", "tool", "model"]
    assert [kind for kind in kinds(page) if kind != "wait"] == wanted
    assert kinds(page)[0] == "wait"  # for a worker
    assert page.locator("#step-rows .bar rect").count() >= 8
    assert f"{len(kinds(page))} steps" in page.inner_text("#step-sum")
    step(page, "tool", "shell").click()
    detail = page.locator("#step-detail")
    detail.locator(".detail-title", has_text="tool: shell").wait_for()
    told = detail.inner_text()
    assert "echo a word" in told and "a word\n" in told and "Worker" in told
    assert detail.locator("button", has_text="Copy").count() >= 2
    assert page.url.endswith(f"#/executions/{run}?tab=steps&at=" + page.url.rpartition("=")[2])
    page.reload()
    detail.locator(".detail-title", has_text="tool: shell").wait_for()

    step(page, "tool", "save_file").last.click()
    detail.locator(".detail-title", has_text="tool: save_file").wait_for()
    judged = detail.inner_text()
    assert "What judged it" in judged and "allowed" in judged and "Approved by" in judged
    detail.locator("summary", has_text="Raw events").click()
    raw = detail.locator("details pre").first.inner_text()
    assert json.loads(raw)["type"] == "tool_started"

    step(page, "approval", "save_file").click()
    detail.locator(".detail-title", has_text="approval: save_file").wait_for()
    assert "approved by local user" in detail.inner_text()
    step(page, "model", "").last.click()
    detail.locator("strong", has_text="Done").wait_for()
    assert "Input: what was new in this call" in detail.inner_text()
    page.go_back()
    detail.locator(".detail-title", has_text="approval: save_file").wait_for()


def test_steps_are_reached_by_keyboard_and_filtered(page: Any, stack: Stack, run: str) -> None:
    sign_in(page, stack, f"#/executions/{run}?tab=steps")
    step(page, "tool", "save_file").last.wait_for()
    page.focus("#step-rows")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.parentElement.getAttribute('aria-posinset')") == "1"
    page.keyboard.press("End")
    last = str(len(kinds(page)))
    assert page.evaluate("document.activeElement.parentElement.getAttribute('aria-posinset')") == last
    page.keyboard.press("Enter")
    page.wait_for_selector("#step-detail .detail-title")
    page.select_option("#step-kind", "tool")
    page.wait_for_function("() => document.querySelectorAll('#step-rows .step').length === 2")


def test_events_are_read_filtered_and_downloaded(page: Any, stack: Stack, run: str, tmp_path: Path) -> None:
    stored = stack.call("GET", f"/executions/{run}/events?limit=1000")
    sign_in(page, stack, f"#/executions/{run}?tab=events")
    words = f"{len(stored)} of {len(stored)}"
    page.locator("#event-count", has_text=words).wait_for()
    page.select_option("#event-type", "tool_completed")
    page.locator("#event-count", has_text="2 of").wait_for()
    page.fill("#event-text", "a word")
    page.locator("#event-count", has_text="1 of").wait_for()
    page.click("#event-rows .event")
    shown = json.loads(page.inner_text("#event-detail pre"))
    assert shown["type"] == "tool_completed" and "a word" in shown["data"]["tool_output"]
    page.select_option("#event-type", "")
    page.fill("#event-text", "")
    page.locator("#event-count", has_text=words).wait_for()
    with page.expect_download() as given:
        page.click("#event-download")
    given.value.save_as(tmp_path / "events")
    lines = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert [line["sequence"] for line in lines] == [event["sequence"] for event in stored]
    assert [line["type"] for line in lines] == [event["event_type"] for event in stored]


def test_steps_grow_while_it_runs_and_the_conversation_comes_back_as_it_was(page: Any, stack: Stack) -> None:
    execution = stack.execute("Hold on", agent="painter", execution_metadata={"interactive": True})
    stack.wait(execution, "waiting_for_input")
    sign_in(page, stack, f"#/executions/{execution}")
    page.locator(".message.assistant").first.wait_for()
    page.click('#run-tabs [data-tab="steps"]')
    step(page, "wait", "waits for a person").wait_for()
    assert page.locator("#timeline .message").count() == 0  # it takes no place in the document
    before = page.locator("#step-rows .step").count()
    save = {"tools": [{"name": "save_file", "arguments": {"path": "b.txt", "content": "b"}}]}
    stack.call("POST", f"/executions/{execution}/message", {"message": script(save, {"text": "Then."})})
    page.wait_for_function("before => document.querySelectorAll('#step-rows .step').length >= before + 3", arg=before)
    # What is stored at the end of a turn cannot be run again from before that; an earlier turn can.
    step(page, "approval", "save_file").click()
    page.locator("#step-detail .actions", has_text="when the turn has ended").wait_for()
    assert page.is_disabled('#step-detail button:has-text("Run again from here")')
    step(page, "model", "").first.click()
    page.wait_for_selector('#step-detail button:enabled:has-text("Run again from here")')
    page.click('#run-tabs [data-tab=""]')
    page.locator(".message.user", has_text="demo:script").wait_for()
    assert page.locator(".message.user", has_text="Hold on").count() == 1
    page.click("#cancel")
    page.wait_for_selector("#again")


@in_every_view
def test_steps_and_events_are_readable_for_everybody(
    browser: Any, stack: Stack, run: str, scheme: str, width: int
) -> None:
    with accessible_page(browser, width, scheme) as (page, check):
        sign_in(page, stack, f"#/executions/{run}?tab=steps")
        step(page, "tool", "save_file").last.wait_for()
        check("the steps")
        step(page, "tool", "save_file").last.click()
        page.wait_for_selector("#step-detail .detail-title")
        check("a step")
        page.click('#run-tabs [data-tab="events"]')
        page.click("#event-rows .event >> nth=1")
        page.wait_for_selector("#event-detail pre")
        check("an event")


@pytest.mark.slow
def test_a_long_run_has_few_nodes_in_every_tab(page: Any, stack: Stack) -> None:
    steps = 2000
    execution = stack.execute("Hold on", execution_metadata={"interactive": True})
    stack.wait(execution, "waiting_for_input")
    big_runs.post(stack, execution, big_runs.steps(steps))
    sign_in(page, stack, f"#/executions/{execution}?tab=steps")
    page.locator("#step-sum", has_text=f"{3 * steps:,}"[:2]).wait_for()
    page.wait_for_function("count => document.querySelector('#step-rows li')?.ariaSetSize >= count", arg=3 * steps)
    assert page.evaluate(big_runs.NODES) < big_runs.MOST_NODES
    page.focus("#step-rows")
    page.keyboard.press("End")
    page.keyboard.press("End")
    page.locator('#step-rows li[aria-posinset="6000"]').wait_for()
    assert page.evaluate(big_runs.NODES) < big_runs.MOST_NODES
    page.click('#run-tabs [data-tab="events"]')
    page.wait_for_selector("#event-rows .event")
    assert page.evaluate(big_runs.NODES) < big_runs.MOST_NODES


@in_every_view
def test_a_run_is_run_again_from_a_step(browser: Any, stack: Stack, run: str, width: int, scheme: str) -> None:
    with accessible_page(browser, width, scheme) as (page, check):
        sign_in(page, stack, f"#/executions/{run}?tab=steps")
        step(page, "model", "").last.wait_for()
        page.focus("#step-rows")
        for key in ("j", "End", "f"):  # the first one goes into the list
            page.keyboard.press(key)
        page.locator("#fork[open]").wait_for()
        check("the dialog that runs again from a step")
        page.keyboard.press("Escape")
        step(page, "model", "").last.click()
        page.click('#step-detail button:has-text("Run again from here")')
        page.fill("#fork-prompt", script({"text": "Changed."}))
        page.keyboard.press("Control+Enter")
        page.wait_for_function("run => !location.hash.includes(run)", arg=run)
        page.locator(".message.assistant", has_text="Changed.").wait_for()
        page.locator("#status[data-status=completed]").wait_for()
        assert page.locator(".message.user").count() == 2 and page.locator("#timeline .tool").count() == 2
        assert page.get_attribute("#facts a", "href") == f"#/executions/{run}?tab=steps"
        page.click('#run-tabs [data-tab="steps"]')
        step(page, "tool", "shell").first.wait_for()
        assert "shared with the execution before" in step(page, "tool", "shell").first.inner_text()
        check("the steps of a run from a step on")
        page.click("#facts a")
        page.wait_for_function("run => location.hash.includes(run)", arg=run)
