"""The page at `/`, in a real browser, before a real stack: what a person sees and does."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import big_runs
from tests.support.browser import TIMEOUT, accessible_page, in_every_view, sign_in, wait_for_words
from tests.support.demo_scripts import script
from tests.support.stack import Stack, wait_until

FILES = {"name": "files", "type": "file_system", "configuration": {}}
SHELL = {"name": "shell", "type": "shell", "configuration": {"allowed_commands": ["*"], "timeout": 60}}
SAVE = {"name": "save_file", "arguments": {"content": "line one\nline two", "path": "note.txt"}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, shared_temporal: str) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), temporal=shared_temporal) as running:
        running.worker()
        running.agent("painter", skills=[FILES, SHELL])
        yield running


def open_execution(page: Any, stack: Stack, execution: str) -> None:
    sign_in(page, stack, f"#/executions/{execution}")
    page.wait_for_selector("#execution:not([hidden])")


def wait_for_status(page: Any, text: str) -> None:
    page.wait_for_function("text => document.getElementById('status').textContent === text", arg=text)


def wait_for_text(page: Any, selector: str, text: str) -> None:
    """Wait until an element says ``text``: the status comes with an event of its own, before or after the rest."""
    page.locator(selector, has_text=text).first.wait_for()


def test_a_browser_signs_in_once_and_no_script_can_read_what_it_holds(page: Any, stack: Stack) -> None:
    page.goto(stack.url)
    page.fill("#key", "kby_wrong")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.getElementById('key-error').textContent.includes('does not know this key')")
    sign_in(page, stack)
    page.reload()
    page.wait_for_selector("#app:not([hidden])")
    other = page.context.new_page()
    other.goto(stack.url)
    other.wait_for_selector("#app:not([hidden])")
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0
    assert page.evaluate("document.cookie") == "" and stack.key not in page.content()
    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and stack.key not in cookie["value"]
    assert page.inner_text("#who") == "local user"
    page.click("#person summary")
    page.click("#leave")
    page.wait_for_selector("#door:not([hidden])")
    other.wait_for_selector("#door:not([hidden])")  # its next look at the list is refused
    assert page.context.cookies() == []


def test_signing_out_everywhere_ends_the_sessions_of_other_browsers(browser: Any, page: Any, stack: Stack) -> None:
    context = browser.new_context()
    try:
        elsewhere = context.new_page()
        elsewhere.set_default_timeout(TIMEOUT)
        sign_in(elsewhere, stack)
        sign_in(page, stack)
        page.click("#person summary")
        page.click("#leave-all")
        page.wait_for_selector("#door:not([hidden])")
        elsewhere.wait_for_selector("#door:not([hidden])")
    finally:
        context.close()


def test_another_sites_page_cannot_write_with_the_cookie(page: Any, stack: Stack) -> None:
    """The browser posts a form from another origin, as forms can: without the token nothing is written."""
    sign_in(page, stack)
    page.goto("about:blank")
    field = """<input name='{"reason":"' value='x"}'>"""
    evil = f"<form method=post enctype=text/plain action='{stack.url}/api/v1/stop'>{field}</form>"
    with page.expect_navigation():
        page.evaluate("html => { document.body.innerHTML = html; document.forms[0].submit(); }", evil)
    assert "X-CSRF-Token" in page.content() or "Unauthorized" in page.content()
    assert stack.call("GET", "/stop") == {"stopped": False}


def test_the_address_that_kubiya_dev_prints_signs_in_and_does_not_stay(page: Any, stack: Stack) -> None:
    page.goto(f"{stack.url}/#key={stack.key}")
    page.wait_for_selector("#app:not([hidden])")
    assert page.url == f"{stack.url}/"


def test_an_execution_is_started_followed_approved_and_answered(page: Any, stack: Stack) -> None:
    sign_in(page, stack)
    page.click("#new")
    page.wait_for_selector("#agent option:nth-child(2)", state="attached")
    page.select_option("#agent", label="painter")
    prompt = script(
        {"text": "I **look** first.", "tools": [{"name": "shell", "arguments": {"command": "echo seen"}}]},
        {"tools": [SAVE]},
        {"text": "Written."},
    )
    page.fill("#prompt", prompt)
    page.keyboard.press("Control+Enter")
    wait_for_status(page, "needs approval")
    wait_for_words(page, ".message.assistant strong", "look")
    assert "echo seen" in page.inner_text(".tool summary")
    page.click(".tool summary")
    assert "seen" in page.inner_text(".tool .output")
    names = page.eval_on_selector_all(".ask dt", "found => found.map(dt => dt.textContent)")
    assert names == ["path", "content"]
    assert "line two" in page.inner_text(".ask .arguments")
    wide = page.viewport_size
    for width in range(340, 480, 20):  # one of them ends the line within the badge, if it can be broken
        page.set_viewport_size({"width": width, "height": 800})
        assert page.eval_on_selector(".ask .risk", "badge => badge.getClientRects().length") == 1, width
    page.set_viewport_size(wide)
    page.wait_for_selector('#rows [data-status="approval"]')  # the list says it too
    page.click(".ask button.primary")
    wait_for_status(page, "completed")
    assert page.inner_text(".ask .resolved") == "Approved by local user"
    wait_for_words(page, ".message.assistant:last-of-type .body", "Written.")
    wait_for_text(page, "#facts", "took ")  # the page asks for the times when it is told of the end
    assert re.search(r"took .+ m?s\b", page.inner_text("#facts")) and "tokens" in page.inner_text("#facts")
    assert page.is_hidden("#cancel") and page.is_visible("#composer")
    execution = page.evaluate("location.hash").split("/")[-1]
    times = stack.call("GET", f"/executions/{execution}")
    assert times["created_at"] < times["started_at"]
    page.evaluate("times => (window.times = times)", times)
    whole = page.evaluate("(Date.parse(times.completed_at) - Date.parse(times.created_at)) / 1000")
    told = re.search(r"took ([\d.]+) (ms|s)\b", page.inner_text("#facts"))  # as `kubiya runs ls` has it
    assert told and abs(float(told[1]) / (1000 if told[2] == "ms" else 1) - whole) <= (0.06 if whole < 10 else 0.6)
    assert (stack.folder / "workspaces" / execution / "note.txt").read_text() == "line one\nline two"


def test_a_question_of_an_agent_is_answered(page: Any, stack: Stack) -> None:
    agent = stack.agent(f"asking-{uuid.uuid4().hex[:6]}", skills=[{"name": "ask", "type": "ask_person"}])
    asking = {"tools": [{"name": "ask_person", "arguments": {"question": "Which host?"}}]}
    execution = stack.execute(script(asking, {"text": "Thanks."}), agent=agent)
    open_execution(page, stack, execution)
    page.wait_for_selector(".ask input.reason")
    assert page.inner_text(".ask h3") == "The agent asks"
    page.fill(".ask input.reason", "web-9")
    page.click(".ask button.primary")
    wait_for_status(page, "completed")
    assert page.inner_text(".ask .resolved") == "Answered by local user"
    (done,) = [e["data"] for e in stack.events(execution) if e["event"] == "tool_completed"]
    assert done["tool_output"] == "web-9"


def test_a_denial_gives_its_reason(page: Any, stack: Stack) -> None:
    execution = stack.execute(script({"tools": [SAVE]}, {"text": "Then not."}), agent="painter")
    open_execution(page, stack, execution)
    page.wait_for_selector(".ask button")
    page.fill(".ask .reason", "not today")
    page.click(".ask button.danger")
    wait_for_status(page, "completed")
    assert page.inner_text(".ask .resolved") == "Denied by local user: not today"
    assert "denied" in page.inner_text(".tool-state")


def test_an_approval_that_somebody_else_answered_shows_at_once(page: Any, stack: Stack) -> None:
    execution = stack.execute(script({"tools": [SAVE]}, {"text": "Fine."}), agent="painter")
    open_execution(page, stack, execution)
    page.wait_for_selector(".ask button")
    asked = stack.first(execution, "approval_requested")
    stack.call("POST", f"/approvals/{asked['approval_id']}/approve", {})
    wait_for_status(page, "completed")
    assert page.inner_text(".ask .resolved") == "Approved by local user"


def test_a_chat_takes_messages_and_is_cancelled(page: Any, stack: Stack) -> None:
    execution = stack.execute("Hello there", agent="painter", execution_metadata={"interactive": True})
    open_execution(page, stack, execution)
    wait_for_status(page, "waiting for input")
    page.fill("#say", "And another thing")
    page.press("#say", "Enter")
    page.wait_for_function("() => document.querySelectorAll('.message.assistant').length === 2")
    wait_for_text(page, ".message.user:nth-of-type(3) .body", "And another thing")
    page.wait_for_function("() => document.getElementById('say').value === ''")  # after the POST
    stack.wait_for_turn(execution, 2)
    page.click("#cancel")
    wait_for_status(page, "cancelled")
    wait_for_text(page, "#timeline", "Cancelled by user")
    assert stack.wait(execution)["status"] == "cancelled"


def test_what_a_teams_members_do_stands_in_the_calls_that_asked_for_it(page: Any, stack: Stack) -> None:
    body = {"prompt": "What is wrong with this host?", "worker_queue_id": "default"}
    execution = stack.call("POST", "/teams/triage/execute", body)["execution_id"]
    open_execution(page, stack, execution)
    wait_for_status(page, "needs approval")

    def call(name: str, task: str = "") -> Any:  # those to one member begin in any order
        heads = (
            page.locator("> summary > .tool-name", has_text=name),
            page.locator("> summary > .tool-line", has_text=task),
        )
        return page.locator("#timeline > .tool").filter(has=heads[0]).filter(has=heads[1])

    disk = call("ask_host", "Find what fills the disk")
    page.wait_for_selector(".ask .asks")
    assert page.inner_text(".ask .asks") == "Asked by triage → writer"
    call("ask_writer").and_(page.locator("[open]")).wait_for()  # it works: its words may come after its question
    disk.and_(page.locator(":not([open])")).wait_for()  # it is done, perhaps later than the question was asked
    disk.locator("> summary").click()
    inside = disk.locator(".members")
    assert "du -ak" in inside.locator(".tool summary").first.inner_text()
    assert set(inside.locator(".who").all_inner_texts()) == {"host"}
    page.click(".ask button.primary")
    wait_for_status(page, "completed")
    call("ask_writer").locator("> summary").click()  # it has closed when it was done
    saved = call("ask_writer").locator('.members .tool[data-state="good"]')
    assert "save_file" in saved.locator("summary").text_content()
    assert disk.get_attribute("open") is not None  # a person has opened it
    assert set(page.locator("#timeline > .message.assistant .who").all_inner_texts()) == {"triage"}
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    assert not axe.run(page).response["violations"]


def test_a_long_log_is_there_at_once_and_stays_where_it_is_read(page: Any, stack: Stack) -> None:
    """Only its end is in the document. What is earlier comes when it is asked for; nothing that is read jumps."""
    execution = stack.execute("Hold on", agent="painter", execution_metadata={"interactive": True})
    stack.wait(execution, "waiting_for_input")
    events = big_runs.steps(300)
    big_runs.post(stack, execution, events[:-20])
    open_execution(page, stack, execution)
    page.locator(".message.assistant", has_text="Step 297").wait_for()
    left = "(({ scrollHeight, scrollTop, clientHeight }) => scrollHeight - scrollTop - clientHeight)"
    page.wait_for_function(f"() => {left}(document.getElementById('timeline')) < 80")
    assert page.evaluate(big_runs.NODES) < big_runs.MOST_NODES
    assert page.locator(".message.assistant", has_text="Step 200").count() == 0
    first = page.locator(".message.assistant .body").first
    step = first.inner_text().split(":")[0].split()[-1]
    page.evaluate("document.getElementById('timeline').scrollTop = 0")  # as "Show earlier" does
    page.locator(".message.assistant", has_text=f"Step {int(step) - 5}:").first.wait_for(state="attached")
    page.evaluate("document.getElementById('timeline').scrollTop = 700")
    seen = page.locator("#timeline > *").nth(12)
    name, top = seen.inner_text(), seen.bounding_box()["y"]
    big_runs.post(stack, execution, events[-20:])
    page.locator("#timeline .later", has_text=re.compile(r"\d")).wait_for()
    seen = page.locator("#timeline > *").nth(12)
    assert (seen.inner_text(), seen.bounding_box()["y"]) == (name, top)
    page.click("#latest")
    page.locator(".message.assistant", has_text="Step 299").wait_for()
    assert page.evaluate(big_runs.NODES) < big_runs.MOST_NODES


def test_a_long_output_shows_its_ends_and_is_copied_and_downloaded_whole(page: Any, stack: Stack) -> None:
    execution = stack.execute("Hold on", agent="painter", execution_metadata={"interactive": True})
    text = big_runs.long_output(300_000)
    big_runs.post(
        stack, execution, big_runs.call("shell", {"command": "cat long"}, f"\x1b[31mred\x1b[0m\n{text}\nthe end")
    )
    open_execution(page, stack, execution)
    page.click(".tool summary")
    page.wait_for_selector(".tool .gap")
    assert page.inner_text(".tool .t-red") == "red"
    assert "line 0000000" in page.inner_text(".tool .output >> nth=0")
    assert page.inner_text(".tool .output >> nth=1").endswith("the end")
    with page.expect_download() as found:
        page.get_by_role("button", name="Download").click()
    assert found.value.suggested_filename == "shell.txt"
    assert Path(found.value.path()).read_text().endswith(f"{text}\nthe end")
    page.get_by_role("button", name="Show more").click()
    assert "line 0000700" in page.inner_text(".tool .output >> nth=0")


def test_a_failed_run_says_why_and_tells_nothing_as_html(page: Any, stack: Stack) -> None:
    hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
    steps = {"text": hostile, "tools": [{"name": "shell", "arguments": {"command": "ls '/<b>none</b>'"}}]}
    budget = {"configuration": {"budgets": {"max_steps": 1}}}
    agent = stack.agent("brief", skills=[SHELL], **budget)
    execution = stack.execute(script(steps, {"text": "never"}), agent=agent)
    open_execution(page, stack, execution)
    wait_for_status(page, "failed")
    wait_for_words(page, ".message.assistant .body", hostile)
    assert page.eval_on_selector_all("#timeline img, #timeline script, #timeline b", "found => found.length") == 0
    assert page.get_attribute(".tool", "data-state") == "bad"
    error = stack.execution(execution)["error_message"]
    assert error
    wait_for_text(page, ".line.error", error)


def test_a_restart_of_the_control_plane_loses_and_repeats_nothing_on_the_page(page: Any, stack: Stack) -> None:
    words = " ".join(f"word{number}" for number in range(120))
    execution = stack.execute(script({"text": words, "delay_ms": 30}), agent="painter")
    open_execution(page, stack, execution)
    page.wait_for_function(
        "() => (document.querySelector('.message.assistant .body')?.textContent || '').includes('word9 ')"
    )
    assert stack.server is not None
    stack.server.kill()
    page.wait_for_selector("#banner:not([hidden])")
    stack.start_server()
    wait_for_status(page, "completed")
    wait_for_words(page, ".message.assistant .body", words)
    assert page.eval_on_selector_all(".message.assistant", "found => found.length") == 1
    page.wait_for_selector("#banner", state="hidden")


def test_the_list_is_live_and_filters(page: Any, stack: Stack) -> None:
    sign_in(page, stack)
    page.wait_for_selector("#rows li, #empty:not([hidden])")
    execution = stack.execute("A fresh one", agent="painter")
    page.wait_for_selector(f'#rows a[href="#/executions/{execution}"] [data-status="completed"]')
    page.wait_for_function("() => /^[12] workers? live$/.test(document.getElementById('workers').textContent)")
    page.select_option("#filter", "running")
    page.wait_for_selector("#empty:not([hidden])")
    wait_for_words(page, "#empty", "No execution is running.")


def test_an_execution_that_no_worker_takes_says_how_to_start_one(page: Any, stack: Stack) -> None:
    stack.queue("idle")
    execution = stack.execute("Nobody is there", agent="painter", queue="idle")
    open_execution(page, stack, execution)
    page.wait_for_selector("#waiting:not([hidden])")
    assert page.inner_text("#waiting code") == "kubiya worker start --queue-id idle"
    page.select_option("#filter", "pending")
    page.wait_for_function("() => document.querySelectorAll('#rows li').length === 1")
    stack.worker("idle")
    wait_for_status(page, "completed")
    assert page.is_hidden("#waiting")


def test_it_is_used_with_the_keyboard_alone(page: Any, stack: Stack) -> None:
    execution = stack.execute(script({"tools": [SAVE]}, {"text": "Kept."}), agent="painter")
    stack.first(execution, "approval_requested")
    sign_in(page, stack)
    row = f'#rows a[href="#/executions/{execution}"]'
    page.wait_for_selector(row)

    def tab_to(selector: str) -> None:
        for _ in range(60):
            if page.evaluate("selector => document.activeElement?.matches(selector)", selector):
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"the Tab key does not reach {selector}")

    tab_to(row)
    page.keyboard.press("Enter")
    page.wait_for_selector(".ask button")
    assert page.evaluate("document.activeElement.id") == "detail"
    tab_to(".ask button.primary")
    page.keyboard.press("Enter")
    wait_for_status(page, "completed")
    tab_to("#again")
    page.keyboard.press("Enter")
    page.wait_for_selector("#start[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#start:not([open])", state="attached")


def test_an_execution_that_is_not_there_is_said(page: Any, stack: Stack) -> None:
    sign_in(page, stack, "#/executions/nowhere")
    page.wait_for_selector("#nothing [role=alert]")
    assert "not found" in page.inner_text("#nothing")


@in_every_view
def test_it_is_readable_for_everybody(browser: Any, stack: Stack, scheme: str, width: int) -> None:
    """axe-core finds nothing (labels, roles, contrast …), and nothing is wider than the screen."""
    steps = [{"text": "See `this`:\n```\ncode\n```", "tools": [{"name": "shell", "arguments": {"command": "false"}}]}]
    execution = stack.execute(script(*steps, {"tools": [SAVE]}), agent="painter")
    stack.first(execution, "approval_requested")
    with accessible_page(browser, width, scheme) as (page, check):
        held: list[Any] = []
        page.route("**/api/v1/session", lambda route: held.append(route))
        page.goto(stack.url)
        page.wait_for_function("() => !document.getElementById('before').hidden")
        wait_until(lambda: page.evaluate("1") and held, 60, "it has asked who is signed in")
        check("before the control plane has answered")
        held[0].continue_()
        page.unroute("**/api/v1/session")
        page.wait_for_selector("#door:not([hidden])")
        check("the door")
        sign_in(page, stack)
        page.wait_for_selector("#rows li")
        check("the list")
        page.goto(f"{stack.url}/#/executions/{execution}")
        page.wait_for_selector(".ask button")
        check("an execution")
        page.click("#new")
        page.wait_for_selector("#agent option", state="attached")
        check("the dialog")


def test_the_page_is_locked_down(stack: Stack) -> None:
    """No key is needed for it, for it holds nothing; and nothing foreign is loaded into it."""
    for path in ("/", "/static/page.js", "/static/timeline.js", "/static/page.css", "/static/icon.svg"):
        answer = stack.http.get(stack.url + path, headers={"Authorization": None}, timeout=60)
        assert answer.status_code == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert not re.findall(r"https?://(?!www\.w3\.org)", answer.text)
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/nothing.js", "/static/page.py"):
        assert stack.http.get(stack.url + path, timeout=60).status_code == 404


def test_a_page_that_was_left_open_lets_go_of_its_stream(page: Any, stack: Stack) -> None:
    execution = stack.execute("Hold on", agent="painter", execution_metadata={"interactive": True})

    def streams() -> int:
        text = stack.http.get(f"{stack.url}/metrics", timeout=60).text
        return int(re.findall(r"^kubiya_control_plane_streams_open (\d+)", text, re.M)[0])

    wait_until(lambda: streams() == 0, 60, "no stream of an earlier test")
    open_execution(page, stack, execution)
    wait_for_status(page, "waiting for input")
    wait_until(lambda: streams() == 1, 60, "the page follows the execution")  # its status may come before its stream
    page.goto(f"{stack.url}/#/")
    wait_until(lambda: streams() == 0, 60, "no stream")
