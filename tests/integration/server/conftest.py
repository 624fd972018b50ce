"""One control plane for the tests of a module; and one browser for them all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import TIMEOUT, OneBrowser
from tests.support.control_plane import ControlPlane


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture(scope="package")
def one_browser() -> Iterator[OneBrowser]:
    with OneBrowser() as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def room_for_a_loop(request: pytest.FixtureRequest, one_browser: OneBrowser) -> None:
    """End the browser before a module that runs an event loop: its driver runs one, and a thread has room for one."""
    if hasattr(request.module, "asyncio"):
        one_browser.close()


@pytest.fixture
def browser(one_browser: OneBrowser) -> Iterator[Any]:
    running = one_browser.running()
    yield running
    for context in running.contexts:  # a page that was left open would go on asking
        context.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A tab of its own; whatever the page complains about in its console fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(TIMEOUT)
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))

    def note(message: Any) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    tab.on("console", note)
    tab.complaints = complaints
    yield tab
    context.close()
    # The browser itself writes a line for each reply above 399 and each lost connection: those are tested by name.
    ours = [line for line in complaints if not line.startswith("Failed to load resource")]
    assert not ours
