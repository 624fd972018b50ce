"""U4 by the page alone: secret, agent with MCP server, rule, notification, job; a run; the answer in the inbox."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.browser import sign_in
from tests.support.demo_scripts import script
from tests.support.receiver import Receiver
from tests.support.stack import Stack

NASTY = str(Path(__file__).parents[2] / "cases" / "mcp" / "nasty.py")
TOKEN = "tok3n-of-the-page"
CALL = script({"tools": [{"name": "mcp__tickets__echo", "arguments": {"text": "T-17"}}]}, {"text": "T-17 is new."})


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    patch = pytest.MonkeyPatch()
    patch.setenv("KUBIYA_NOTIFY_NETWORKS", "127.0.0.0/8")
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        running.worker()
        patch.undo()
        yield running


def made(page: Any, stack: Stack, kind: str, name: str, spec: dict[str, Any]) -> None:
    """Write a definition into the editor of a new one, and save it."""
    page.goto(f"{stack.url}/#/definitions/{kind}?tab=yaml")
    page.locator("#definition-title", has_text=f"New {kind.lower()}").wait_for()  # no longer the one before
    page.wait_for_selector("#definition-copy button")
    page.fill("#definition-area", yaml.safe_dump({"kind": kind, "name": name, "spec": spec}))
    page.click("#definition-save")
    page.wait_for_selector("#change[open], #definition-fault:not(:empty)")
    assert page.inner_text("#definition-fault") == ""
    page.click("#change-go")
    page.wait_for_selector("#change:not([open])", state="attached")
    page.locator("#definition-status", has_text=kind).wait_for()


def test_all_of_it_is_made_started_and_answered_on_the_page(page: Any, stack: Stack) -> None:
    server = {"command": sys.executable, "args": [NASTY], "env": {"T": "{{.secret.TICKETS_TOKEN}}"}}
    with Receiver() as receiver:
        sign_in(page, stack, "#/definitions")
        page.goto(f"{stack.url}/#/definitions/Secret")
        page.wait_for_selector("#definition-new:not([hidden])")
        page.fill("#definition-name", "TICKETS_TOKEN")
        page.fill("#field-value", TOKEN)
        page.click("#definition-save")
        page.wait_for_selector("#change[open]")
        page.click("#change-go")
        page.wait_for_function("() => location.hash === '#/definitions/Secret/TICKETS_TOKEN'")
        made(
            page, stack, "Agent", "reader", {"model_id": "demo", "configuration": {"mcp_servers": {"tickets": server}}}
        )
        rule = {"scope_type": "tool", "scope_value": "mcp__tickets__*", "action": "ask"}
        made(page, stack, "Rule", "ask before tickets", rule)
        channel = {"type": "ntfy", "url": receiver.url, "topic": "phone"}
        made(page, stack, "Notification", "phone", {"channel": channel, "events": ["approval_waiting"]})
        job = {"agent": "reader", "trigger_type": "manual", "prompt_template": CALL}
        made(page, stack, "Job", "tickets now", job)

        page.goto(f"{stack.url}/#/jobs")
        page.click("#job-rows a")
        page.click("#job-run")
        page.wait_for_selector("#execution:not([hidden])")
        page.goto(f"{stack.url}/#/inbox")
        page.click("#inbox-rows a")
        page.wait_for_selector("#request:not([hidden])")
        assert "T-17" in page.inner_text("#request")
        page.click("#request-approve")
        (run,) = stack.call("GET", "/executions")
        assert stack.wait(run["id"])["response"] == "T-17 is new."
        assert "phone" in json.dumps([got.json for got in receiver.wait(1)])
    assert TOKEN not in page.content()
