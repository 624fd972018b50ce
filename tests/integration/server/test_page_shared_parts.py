"""Skills, MCP servers and models that others name, on the page: made, mended, restored, deleted by keyboard alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import accessible_page, sign_in
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, shared_temporal: str) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), temporal=shared_temporal) as running:
        yield running


class Keyboard:
    """A person without a mouse: what is not reached with Tab is not there."""

    def __init__(self, page: Any) -> None:
        self._page = page

    def reach(self, selector: str, key: str = "Tab") -> None:
        """Press a key until the element has the focus."""
        for _ in range(150):
            if self._page.evaluate("(wanted) => document.activeElement?.matches(wanted)", selector):
                return
            self._page.keyboard.press(key)
        raise AssertionError(f"{selector} is not reached with {key}")

    def press(self, selector: str) -> None:
        self.reach(selector)
        self._page.keyboard.press("Enter")

    def write(self, selector: str, text: str) -> None:
        self.reach(selector)
        self._page.keyboard.press("ControlOrMeta+a")
        self._page.keyboard.type(text)


@dataclass(frozen=True)
class Part:
    """A kind, how a new one is filled in, what is wrong with it first, and how an agent names it."""

    kind: str
    noun: str
    field: str  # with the fault, and with what is right
    wrong: str
    fault: str
    right: str
    spec: dict[str, Any]
    naming: dict[str, Any]
    labels: tuple[str, ...]  # some of its fields
    choose: str = ""  # what is chosen as the type
    help: str = ""  # which then stands below it
    first: tuple[str, str] = ("", "")  # or else the field without which there is none, and what is written into it
    forced: str = "Delete, and take it out"  # the button, once it is known that others name it
    stays_named: bool = False  # by those, after that button

    def name(self, width: int, scheme: str) -> str:
        return f"{self.noun.split()[-1]}-{width}-{scheme}"

    def agent(self, name: str) -> dict[str, Any]:
        return {"kind": "Agent", "name": f"user of {name}", "spec": _named(self.naming, name)}


def _named(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key.replace("NAME", name): _named(each, name) for key, each in value.items()}
    return [_named(each, name) for each in value] if isinstance(value, list) else str(value).replace("NAME", name)


PARTS = (
    Part(
        kind="Skill",
        noun="skill",
        choose="shell",
        help="without a shell",
        field="configuration",
        wrong='{"allowed_commands": ["df"',
        fault="This is not JSON",
        right='{"allowed_commands": ["df"]}',
        spec={"type": "shell", "configuration": {"allowed_commands": ["df"]}},
        naming={"skills": ["NAME"]},
        labels=("Type", "Description", "Configuration"),
    ),
    Part(
        kind="MCPServer",
        noun="MCP server",
        field="timeout",
        wrong="4000",
        fault="300 seconds",
        right="20",
        spec={"command": "tickets-mcp", "timeout": 20},
        naming={"configuration": {"mcp_servers": {"own": {"ref": "NAME"}}}},
        first=("command", "tickets-mcp"),
        labels=("Environment file", "Working folder", "URL", "OAuth", "Timeout in seconds", "Folders to read"),
    ),
    Part(
        kind="Model",
        noun="model",
        field="api_key",
        wrong="os.environ/AWS_SECRET_ACCESS_KEY",
        fault="KUBIYA_MODEL_KEY_",
        right="os.environ/KUBIYA_MODEL_KEY_SMALL",
        spec={"model": "openai/gpt-4o-mini", "api_key": "os.environ/KUBIYA_MODEL_KEY_SMALL"},
        naming={"model_id": "NAME"},
        first=("model", "openai/gpt-4o-mini"),
        forced="Delete it anyway",
        stays_named=True,
        labels=("Description", "Model"),
    ),
)


def look(page: Any, check: Callable[[str], None], what: str) -> None:
    """Check what the page shows; with KUBIYA_PICTURES leave a picture of it in that folder."""
    check(what)
    if folder := os.environ.get("KUBIYA_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{what.replace(' ', '-')}.png"))


# All by --all; by default each kind, each width and each scheme once.
DAILY = {("Skill", 390, "dark"), ("MCPServer", 1440, "light"), ("Model", 1440, "dark")}


@pytest.mark.parametrize(
    ("part", "width", "scheme"),
    [
        pytest.param(
            part,
            width,
            scheme,
            id=f"{part.kind}-{width}-{scheme}",
            marks=() if (part.kind, width, scheme) in DAILY else pytest.mark.slow,
        )
        for part in PARTS
        for width in (1440, 390)
        for scheme in ("light", "dark")
    ],
)
def test_a_part_that_others_name_by_keyboard_from_new_to_deleted(
    browser: Any, stack: Stack, part: Part, width: int, scheme: str
) -> None:
    name = part.name(width, scheme)
    with accessible_page(browser, width, scheme) as (page, check):
        keys = Keyboard(page)

        def seen(what: str) -> None:
            look(page, check, f"{part.kind} {what} {width} {scheme}")

        def saved(word: str) -> None:
            keys.press("#definition-save")
            page.wait_for_selector("#change[open]")
            seen(f"{word} asked")
            keys.press("#change-go")
            page.locator("#definition-told", has_text="Saved").wait_for()

        sign_in(page, stack, f"#/definitions/{part.kind}")
        page.locator("#definition-title", has_text=f"New {part.noun}").wait_for()
        page.wait_for_selector("#definition-fields .field")
        labels = page.locator("#definition-fields label, #definition-fields summary").all_inner_texts()
        assert set(part.labels) <= set(labels), labels
        keys.write("#definition-name", name)
        if part.choose:
            keys.reach("#field-type")
            page.keyboard.type(part.choose)
            page.locator("#field-type-help", has_text=part.help).wait_for()
        else:
            field, text = part.first
            keys.write(f"#field-{field}", text)
        keys.write(f"#field-{part.field}", part.wrong)
        keys.press("#definition-save")
        page.locator(f"#field-{part.field}-fault", has_text=part.fault).wait_for()
        assert page.evaluate("document.activeElement.id") == f"field-{part.field}"
        assert page.get_attribute(f"#field-{part.field}", "aria-invalid") == "true"
        seen("fault")
        keys.write(f"#field-{part.field}", part.right)
        saved("new")
        page.wait_for_function("(wanted) => decodeURIComponent(location.hash).endsWith(wanted)", arg=f"/{name}")
        assert stack.call("GET", f"/definitions/{part.kind}/{name}")["spec"] == part.spec

        page.wait_for_selector("#definition-fields .field")
        keys.write("#field-description", "What others name")
        saved("edit")
        changed = {**part.spec, "description": "What others name"}
        assert stack.call("GET", f"/definitions/{part.kind}/{name}")["spec"] == changed

        keys.reach('#definition-tabs [data-tab="history"]', "Shift+Tab")
        page.keyboard.press("Enter")
        page.locator(".version h3", has_text="2").first.wait_for()
        seen("history")
        keys.press("#definition-history button")
        page.locator("#definition-told", has_text="as in version 1").wait_for()
        assert stack.call("GET", f"/definitions/{part.kind}/{name}")["spec"] == part.spec

        stack.call("POST", "/definitions/apply", {"documents": [part.agent(name)]})
        keys.press("#definition-delete")
        page.wait_for_selector("#remove[open]")
        keys.press("#remove-go")
        page.locator("#remove-needs a", has_text=f"user of {name}").wait_for()
        seen("in use")
        keys.press("#remove-close")
        assert stack.call("GET", f"/definitions/{part.kind}/{name}")["spec"] == part.spec
        keys.press("#definition-delete")
        page.wait_for_selector("#remove[open]")
        keys.press("#remove-go")
        page.locator("#remove-go", has_text=part.forced).wait_for()
        keys.press("#remove-go")
        page.locator("#remove").wait_for(state="hidden")
        stack.call("GET", f"/definitions/{part.kind}/{name}", status=404)
        still = name in str(stack.call("GET", f"/definitions/Agent/user%20of%20{name}")["spec"])
        assert still == part.stays_named
