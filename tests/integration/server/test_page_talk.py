"""Two people talk in one run, also after its end: each sees what the other writes, with the name, in real browsers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import TIMEOUT, accessible_page, in_every_view
from tests.support.demo_scripts import script
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, shared_temporal: str) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), temporal=shared_temporal) as running:
        running.worker()
        running.agent("talker")
        yield running


def person(stack: Stack, name: str) -> str:
    about = {"name": name, "email": f"{name.lower()}@example.org", "role": "operator"}
    return str(stack.call("POST", "/keys", about)["key"])


def open_as(browser: Any, stack: Stack, key: str, fragment: str) -> Any:
    context = browser.new_context(viewport={"width": 1440, "height": 800})
    context.set_default_timeout(TIMEOUT)
    page = context.new_page()
    page.goto(f"{stack.url}/{fragment}")
    page.fill("#key", key)
    page.keyboard.press("Enter")
    page.wait_for_selector("#app:not([hidden])")
    return page


def write(page: Any, text: str) -> None:
    page.fill("#say", text)
    page.keyboard.press("Enter")


def said(page: Any, who: str, text: str) -> Any:
    return page.locator(".message.user", has=page.locator(".who", has_text=who)).filter(has_text=text)


def test_two_people_see_each_other_and_the_conversation_goes_on_after_its_end(browser: Any, stack: Stack) -> None:
    keys = {name: person(stack, name) for name in ("Ada", "Bob")}
    stack.http.headers["Authorization"] = f"Bearer {keys['Ada']}"
    try:
        execution = stack.execute("Hold on", agent="talker", execution_metadata={"interactive": True})
    finally:
        stack.http.headers["Authorization"] = f"Bearer {stack.key}"
    ada, bob = (open_as(browser, stack, key, f"#/executions/{execution}") for key in keys.values())
    said(bob, "Ada", "Hold on").wait_for()
    write(bob, "And this?")
    said(ada, "Bob", "And this?").wait_for()
    write(ada, "Enough.")
    said(bob, "Ada", "Enough.").wait_for()
    stack.wait(execution, "waiting_for_input")
    ada.click("#finish")
    for page in (ada, bob):
        page.locator("#status[data-status=completed]").wait_for()

    write(bob, script({"text": "I am still here."}))
    for page in (ada, bob):  # whose stream had ended, too
        page.locator(".message.assistant", has_text="I am still here.").wait_for()
        assert said(page, "Bob", "still here").count() == 1
    assert ada.locator(".message.user .who").all_inner_texts() == ["Ada", "Bob", "Ada", "Bob"]
    row = stack.execution(execution)
    assert [each["user_name"] for each in row["participants"]] == ["Bob", "Ada"]
    for page in (ada, bob):
        page.context.close()


def test_a_run_that_cannot_go_on_says_why(browser: Any, stack: Stack) -> None:
    agent = stack.agent("passing")
    execution = stack.execute("Hello", agent=agent)
    stack.wait(execution)
    stack.call("DELETE", f"/agents/{agent}")
    page = open_as(browser, stack, stack.key, f"#/executions/{execution}")
    page.locator("#status[data-status=completed]").wait_for()
    assert page.get_attribute("#say", "placeholder") == "Go on with the conversation"
    write(page, "More")
    page.locator(".line.error", has_text="its agent 'passing' was deleted").wait_for()
    assert page.input_value("#say") == "More", "what was typed is not lost"
    page.context.close()


@in_every_view
def test_a_run_that_is_over_with_its_field_for_a_message_is_for_everybody(
    browser: Any, stack: Stack, width: int, scheme: str
) -> None:
    execution = stack.execute("Hello", agent="talker")
    stack.wait(execution)
    with accessible_page(browser, width, scheme) as (page, check):
        page.goto(f"{stack.url}/#/executions/{execution}")
        page.fill("#key", stack.key)
        page.keyboard.press("Enter")
        page.locator("#status[data-status=completed]").wait_for()
        page.locator("#composer").wait_for()
        check("a run that is over")
