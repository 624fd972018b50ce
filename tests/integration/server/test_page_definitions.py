"""Definitions on the page: lists, forms and YAML of one schema, versions, deletion. In a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import accessible_page, in_every_view, sign_in
from tests.support.stack import Stack

WATCHER: dict[str, Any] = {
    "kind": "Agent",
    "name": "disk-watcher",
    "spec": {
        "description": "Finds what fills the disks",
        "system_prompt": "Find out what fills the disks.\nChange nothing.",
        "model_id": "demo",
        "skills": [{"type": "shell", "configuration": {"allowed_commands": ["df"]}}],
    },
}
RULE: dict[str, Any] = {
    "kind": "Rule",
    "name": "ask first",
    "spec": {"scope_type": "risk_level", "scope_value": "critical"},
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, shared_temporal: str) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), temporal=shared_temporal) as running:
        running.call("POST", "/definitions/apply", {"documents": [WATCHER, RULE]})
        yield running


def spec(stack: Stack, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = stack.call("GET", f"/definitions/{kind}/{name}")["spec"]
    return found


def save(page: Any) -> None:
    page.click("#definition-save")
    page.wait_for_selector("#change[open]")
    page.click("#change-go")
    page.wait_for_selector("#change:not([open])", state="attached")


def test_an_agent_is_changed_by_its_form_after_a_look_at_what_changes(page: Any, stack: Stack) -> None:
    sign_in(page, stack, "#/definitions")
    page.fill("#definition-text", "disk-w")
    page.locator("#definition-rows a", has_text="disk-watcher").click()
    page.wait_for_selector("#definition-fields .field")
    assert page.input_value('[id="field-skills.0.type"]') == "shell"
    page.fill("#field-description", "Finds what is full")
    page.click("#definition-save")
    page.wait_for_selector("#change[open]")
    told = page.inner_text("#change-body")
    assert "description" in told and "Finds what fills the disks" in told and "Finds what is full" in told
    assert "system_prompt" not in told
    page.click("#change-go")
    page.locator("#definition-told", has_text="Saved").wait_for()
    wanted = {**WATCHER["spec"], "description": "Finds what is full"}
    assert spec(stack, "Agent", "disk-watcher") == wanted

    # Every field of the schema that is used comes back from YAML as it was.
    page.click('#definition-tabs [data-tab="yaml"]')
    page.wait_for_selector("#definition-copy button")
    text = page.input_value("#definition-area")
    assert "system_prompt: |-\n" in text
    page.fill("#definition-area", text.replace("- df", "- df\n          - du"))
    page.click('#definition-tabs [data-tab=""]')
    page.wait_for_selector('[id="field-skills.0.configuration"]')
    assert '"du"' in page.input_value('[id="field-skills.0.configuration"]')
    save(page)
    page.locator("#definition-told", has_text="Saved").wait_for()
    assert spec(stack, "Agent", "disk-watcher")["skills"][0]["configuration"] == {"allowed_commands": ["df", "du"]}

    page.click('#definition-tabs [data-tab="history"]')
    page.click("text=Restore version 1")
    page.locator("#definition-told", has_text="as in version 1").wait_for()
    assert spec(stack, "Agent", "disk-watcher") == WATCHER["spec"]
    assert "by local user" in page.inner_text("#definition-history")


def test_faults_stand_at_their_field_and_at_their_line(page: Any, stack: Stack) -> None:
    sign_in(page, stack, "#/definitions/Rule/ask%20first")
    page.wait_for_selector("#definition-fields .field")
    page.fill("#field-timeout_minutes", "-5")
    page.click("#definition-save")
    fault = page.locator('[id="field-timeout_minutes-fault"]', has_text="must be 1 to")
    fault.wait_for()
    assert page.get_attribute("#field-timeout_minutes", "aria-invalid") == "true"
    assert page.evaluate("document.activeElement.id") == "field-timeout_minutes"
    page.goto(f"{stack.url}/#/definitions/Rule/ask%20first?tab=yaml")
    page.wait_for_selector("#definition-copy button")
    wrong = "kind: Rule\nname: ask first\nspec:\n  scope_type: risk_level\n  akshun: deny\n"
    page.fill("#definition-area", wrong)
    page.click("#definition-save")
    page.locator("#definition-fault", has_text="Line 5: spec.akshun: ").wait_for()
    chosen = "({value, selectionStart, selectionEnd}) => value.slice(selectionStart, selectionEnd)"
    assert page.locator("#definition-area").evaluate(chosen) == "  akshun: deny"
    page.fill("#definition-area", "kind: Rule\nname: [")
    page.click("#definition-save")
    page.locator("#definition-fault", has_text="Line 2: this is not YAML").wait_for()
    page.click('#definition-tabs [data-tab=""]')  # what cannot be read is not lost
    page.wait_for_function("() => location.hash.endsWith('tab=yaml')")
    assert page.input_value("#definition-area") == "kind: Rule\nname: ["
    assert spec(stack, "Rule", "ask first") == RULE["spec"]


def test_what_somebody_else_has_changed_meanwhile_is_not_overwritten(page: Any, stack: Stack) -> None:
    stack.call("POST", "/definitions/apply", {"documents": [{"kind": "Environment", "name": "shared", "spec": {}}]})
    sign_in(page, stack, "#/definitions/Environment/shared")
    page.wait_for_selector("#field-display_name")
    changed = {"kind": "Environment", "name": "shared", "spec": {"tags": ["theirs"]}}
    stack.call("POST", "/definitions/apply", {"documents": [changed]})
    page.fill("#field-display_name", "Mine")
    page.click("#definition-save")
    page.locator("#definition-fault", has_text="was changed in spec.tags").wait_for()
    assert spec(stack, "Environment", "shared") == {"tags": ["theirs"]}


def test_a_new_one_is_made_and_a_secret_is_shown_to_nobody_again(page: Any, stack: Stack) -> None:
    sign_in(page, stack, "#/definitions")
    page.select_option("#definition-kind", "Secret")
    page.click("#new")
    page.wait_for_selector("#definition-new:not([hidden])")
    page.fill("#definition-name", "TICKETS_TOKEN")
    page.fill("#field-value", "s3cret-and-long")
    save(page)
    page.locator("#definition-title", has_text="TICKETS_TOKEN").wait_for()
    page.locator("#definition-rows", has_text="TICKETS_TOKEN").wait_for()
    assert page.input_value("#field-value") == "" and "s3cret" not in page.content()
    assert "TICKETS_TOKEN" in [each["name"] for each in stack.call("GET", "/secrets")]
    page.goto(f"{stack.url}/#/definitions/MCPServer")
    page.locator("#definition-title", has_text="New MCP server").wait_for()
    page.goto(f"{stack.url}/#/definitions/Agent")
    page.wait_for_selector("#field-system_prompt")
    page.fill("#definition-name", "made-here")
    page.fill("#field-system_prompt", "Help.")
    page.click("#definition-fields details[data-path=skills] > summary")
    page.click("text=Add to skills")
    page.select_option('[id="field-skills.0.type"]', "shell")
    page.locator('[id="field-skills.0.type-help"]', has_text="without a shell").wait_for()
    save(page)
    page.wait_for_function("() => location.hash === '#/definitions/Agent/made-here'")
    assert spec(stack, "Agent", "made-here") == {"system_prompt": "Help.", "skills": [{"type": "shell"}]}


def test_a_deletion_that_is_refused_says_who_needs_it(page: Any, stack: Stack) -> None:
    job = {"kind": "Job", "name": "nightly", "spec": {"agent": "needed", "prompt_template": "Look."}}
    stack.call("POST", "/definitions/apply", {"documents": [{"kind": "Agent", "name": "needed", "spec": {}}, job]})
    sign_in(page, stack, "#/definitions")
    page.goto(f"{stack.url}/#/definitions/Agent/needed")
    page.wait_for_selector("#definition-fields .field")
    page.click("#definition-delete")
    page.click("#remove-go")
    page.locator("#remove-needs a", has_text="nightly").wait_for()
    assert spec(stack, "Agent", "needed") == {}
    page.go_back()  # with the dialog open: it goes with the page below it
    page.wait_for_selector("#remove:not([open])", state="attached")
    page.go_forward()
    page.wait_for_selector("#definition-fields .field")
    page.click("#definition-delete")
    page.click("#remove-go")
    page.click("text=Delete, and end these")
    page.wait_for_selector("#remove:not([open])", state="attached")
    stack.call("GET", "/definitions/Agent/needed", status=404)
    page.goto(f"{stack.url}/#/definitions/Agent/needed")
    page.locator("#definition-status", has_text="deleted").wait_for()
    page.click("text=Restore version")
    page.locator("#definition-told", has_text="again").wait_for()
    assert spec(stack, "Agent", "needed") == {}


def test_who_may_only_look_changes_nothing(page: Any, stack: Stack) -> None:
    key = stack.call("POST", "/keys", {"name": "looker", "role": "viewer"})["key"]
    page.goto(f"{stack.url}/#/definitions/Agent/disk-watcher")
    page.fill("#key", key)
    page.keyboard.press("Enter")
    page.wait_for_selector("#field-description")
    assert page.is_disabled("#field-description")
    assert not page.is_visible("#definition-save") and not page.is_visible("#definition-delete")
    assert page.is_visible("#definition-may")


@in_every_view
def test_definitions_are_readable_for_everybody(browser: Any, stack: Stack, scheme: str, width: int) -> None:
    with accessible_page(browser, width, scheme) as (page, check):
        sign_in(page, stack, "#/definitions")
        page.wait_for_selector("#definition-rows li")
        check("the list")
        page.goto(f"{stack.url}/#/definitions/Agent/disk-watcher")
        page.wait_for_selector("#definition-fields .field")
        check("the form")
        page.fill("#field-description", "Another")
        page.click("#definition-save")
        page.wait_for_selector("#change[open]")
        check("what changes")
        page.click("#change-close")
        page.click('#definition-tabs [data-tab="yaml"]')
        page.wait_for_selector("#definition-copy button")
        check("YAML")
        page.click('#definition-tabs [data-tab="history"]')
        page.wait_for_selector(".version")
        check("the versions")
