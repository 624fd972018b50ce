"""Tests of an agent's model and of MCP servers from the page: a real worker makes them, with real servers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.errors import EX_UNAVAILABLE
from tests.support.browser import accessible_page, in_every_view, sign_in
from tests.support.model_endpoint import ModelEndpoint
from tests.support.stack import BIN, Stack

NASTY = str(Path(__file__).parents[2] / "cases" / "mcp" / "nasty.py")
SECRET = "tok3n-of-the-server"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, shared_temporal: str) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), temporal=shared_temporal) as running, ModelEndpoint() as endpoint:
        spec = {"model": "openai/upstream", "api_base": endpoint.url, "api_key": "os.environ/KUBIYA_MODEL_KEY_SMALL"}
        running.call("POST", "/stored-models", {"name": "small", **spec})
        running.worker(
            OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="sk-of-the-host", KUBIYA_MODEL_KEY_SMALL="sk-of-small"
        )
        running.call("PUT", "/secrets/TOKEN", {"value": SECRET})
        good = {"command": sys.executable, "args": [NASTY, "{{.secret.TOKEN}}"], "env": {"T": "{{.secret.TOKEN}}"}}
        broken = {"command": sys.executable, "args": [NASTY, "fail-start", "{{.secret.TOKEN}}"]}
        servers = {"good": good, "broken": broken, "gone": {"command": "no-such-program-anywhere"}}
        fields = {"model_id": "gpt-test", "configuration": {"mcp_servers": servers}}
        running.call("POST", "/agents", {"name": "tester", **fields})
        running.call("POST", "/mcp-servers", {"name": "stored", **good})
        running.call("POST", "/teams", {"name": "crew", "configuration": {"mcp_servers": {"named": {"ref": "stored"}}}})
        around = {"command": sys.executable, "args": [NASTY], "env": {"WORD": "{{WORD}}"}}
        environment = {"mcp_servers": {"around": around}, "env_vars": {"WORD": "of-the-environment"}}
        running.call("POST", "/environments", {"name": "eu", "execution_environment": environment})
        yield running


def test_a_worker_lists_the_tools_of_a_server_with_its_secret_and_shows_it_nowhere(stack: Stack) -> None:
    found = stack.call("POST", "/agents/tester/test", {"mcp_server": "good"})
    assert (found["ok"], found["queue"], found["transport"]) == (True, "default", "stdio")
    assert [tool["name"] for tool in found["tools"]] == ["echo", "pid", "argv", "env"]
    assert found["seconds"] > 0
    for name in ("broken", "gone", "nobody"):
        found = stack.call("POST", "/agents/tester/test", {"mcp_server": name})
        assert not found["ok"] and found["error"], name
        assert SECRET not in json.dumps(found)
    assert "no MCP server 'nobody'" in found["error"]


def test_a_model_is_tested_at_the_workers_endpoint(stack: Stack) -> None:
    found = stack.call("POST", "/agents/tester/test", {})
    assert found["model"] == "gpt-test" and found["calls"] >= 1 and "tools" in found["checks"]
    assert "sk-of-the-host" not in json.dumps(found)
    demo = stack.call("POST", "/agents/ops/test", {})
    assert (demo["ok"], demo["note"]) == (True, "It is the demo model: a script")


def test_a_stored_model_is_tested_with_the_workers_key_and_shown(page: Any, stack: Stack) -> None:
    found = stack.call("POST", "/stored-models/small/test", {})
    assert (found["model"], found["queue"]) == ("small", "default") and "tools" in found["checks"]
    assert "127.0.0.1" in found["at"] and "sk-of-small" not in json.dumps(found)
    sign_in(page, stack, "#/definitions/Model/small?tab=test")
    view = page.locator("#definition-trials")
    view.locator("button", has_text="Test the model").click()
    view.locator("li", has_text="tools").first.wait_for()
    assert "small at 127.0.0.1" in view.inner_text() or "upstream at 127.0.0.1" in view.inner_text()
    assert "sk-of-small" not in page.content()


def test_the_page_tests_and_shows_the_outcome(page: Any, stack: Stack) -> None:
    sign_in(page, stack, "#/definitions/Agent/tester?tab=test")
    view = page.locator("#definition-trials")
    view.locator("h3", has_text="Model gpt-test").wait_for()
    good = view.locator("section", has=page.locator("h3", has_text="MCP server good"))
    good.locator("button").focus()
    page.keyboard.press("Enter")
    good.locator(".status", has_text="works").wait_for()
    words = good.inner_text()
    assert "4 tools" in words and "echo(" in words
    assert f"by the worker {socket.gethostname()} on the queue default" in words
    page.wait_for_function("() => document.activeElement.textContent === 'Test good'")
    gone = view.locator("section", has=page.locator("h3", has_text="MCP server gone"))
    gone.locator("button").click()
    gone.locator(".status", has_text="fails").wait_for()
    assert "no-such-program-anywhere" in gone.locator(".error").inner_text()
    model = view.locator("section", has=page.locator("h3", has_text="Model gpt-test"))
    model.locator("button").click()
    model.locator("li", has_text="tools").first.wait_for()
    assert "tokens" in model.inner_text()
    assert SECRET not in page.content() and "null" not in view.inner_text()


@pytest.mark.parametrize(
    ("place", "server"), [("MCPServer/stored", "stored"), ("Team/crew", "named"), ("Environment/eu", "around")]
)
def test_the_page_tests_servers_that_are_stored_or_of_a_team_or_an_environment(
    page: Any, stack: Stack, place: str, server: str
) -> None:
    sign_in(page, stack, f"#/definitions/{place}")
    page.wait_for_selector("#definition-fields .field")
    page.locator('#definition-tabs [data-tab="test"]').focus()
    page.keyboard.press("Enter")
    button = page.locator("#definition-trials button", has_text=f"Test {server}")
    button.focus()
    page.keyboard.press("Enter")
    page.locator("#definition-trials .status", has_text="works").wait_for()
    words = page.inner_text("#definition-trials")
    assert "4 tools" in words and f"by the worker {socket.gethostname()} on the queue default" in words
    assert "Model" not in words and SECRET not in page.content()


def test_a_worker_makes_the_test_of_the_command_line_with_the_secret(stack: Stack) -> None:
    def test(*argv: str) -> tuple[int, str]:
        environ = {**os.environ, "CONTROL_PLANE_URL": stack.url, "KUBIYA_API_KEY": stack.key}
        command = [str(BIN / "kubiya"), "mcp", "test", *argv]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    code, told = test("stored")  # this host has no secrets
    assert code == EX_UNAVAILABLE and "TOKEN" in told and "--queue" in told
    code, told = test("stored", "--queue", "default")
    assert code == 0 and "echo(" in told
    assert f"tested by a worker of the queue default, host {socket.gethostname()}" in told
    assert test("around")[0] == 0


def test_who_may_only_look_tests_nothing(page: Any, stack: Stack) -> None:
    key = stack.call("POST", "/keys", {"name": "Vi", "role": "viewer"})["key"]
    page.goto(f"{stack.url}/#/definitions/Agent/tester?tab=test")
    page.fill("#key", key)
    page.keyboard.press("Enter")
    page.wait_for_selector("#definition-trials h3")
    assert page.locator("#definition-trials button:visible").count() == 0


@in_every_view
def test_tests_are_readable_for_everybody(browser: Any, stack: Stack, scheme: str, width: int) -> None:
    with accessible_page(browser, width, scheme) as (page, check):
        sign_in(page, stack, "#/definitions/Agent/tester?tab=test")
        for name in ("good", "gone"):
            page.locator("#definition-trials button", has_text=f"Test {name}").click()
        page.locator("#definition-trials .status", has_text="works").wait_for()
        page.locator("#definition-trials .status", has_text="fails").wait_for()
        check("the tests")
