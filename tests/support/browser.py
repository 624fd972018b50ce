"""A real Chromium, if this host has one, before the page of the local control plane."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import pytest

from tests.support.stack import Stack

TIMEOUT = 60_000  # ms; the machine may be busy
# All four by --all; by default each width and each scheme once, as a browser is the dearest part of the suite.
in_every_view = pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1440, "light"),
        (390, "dark"),
        pytest.param(1440, "dark", marks=pytest.mark.slow),
        pytest.param(390, "light", marks=pytest.mark.slow),
    ],
)
FIND = "async () => (await axe.run({resultTypes: ['violations']})).violations"
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A running browser; the test skips, and says why, where there is none."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium on this host: apt-get install chromium-headless-shell")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class OneBrowser:
    """A browser that is started when a test wants it and goes on for the next ones, until it is closed."""

    def __init__(self) -> None:
        self._running: Any = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def running(self) -> Any:
        if self._running is None or not self._running.is_connected():  # it may have crashed
            self.close()
            self._running = self._open.enter_context(chromium())
        return self._running

    def close(self) -> None:
        self._running = None
        self._open.close()


def wait_for_words(page: Any, selector: str, words: str) -> None:
    """Wait until the first element shows exactly this. Streamed text is drawn once a frame, after its event."""
    from playwright.sync_api import expect

    expect(page.locator(selector).first).to_have_text(words, timeout=TIMEOUT)


@contextlib.contextmanager
def accessible_page(browser: Any, width: int, scheme: str) -> Iterator[tuple[Any, Callable[[str], None]]]:
    """Open a page of this width and colour scheme.

    Also return a check, which fails when axe-core finds something in what the page shows, or when that is too wide.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    size = {"width": width, "height": 740}
    with browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce") as context:
        context.set_default_timeout(TIMEOUT)
        page = context.new_page()

        def check(what: str) -> None:
            if not page.evaluate("'axe' in window"):  # half a megabyte, a quarter of the time of a look
                page.evaluate(axe.axe_script)
            found = page.evaluate(FIND)
            assert not found, (what, [(v["id"], v["nodes"][0]["html"], v["nodes"][0]["failureSummary"]) for v in found])
            assert page.evaluate("document.documentElement.scrollWidth") <= width, what

        yield page, check


def sign_in(page: Any, stack: Stack, fragment: str = "") -> None:
    page.goto(f"{stack.url}/{fragment}")
    page.fill("#key", stack.key)
    page.keyboard.press("Enter")
    page.wait_for_selector("#app:not([hidden])")
