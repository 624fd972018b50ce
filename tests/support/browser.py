"""A real Chromium, if this host has one, before the page of the local control plane."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.stack import Stack

TIMEOUT = 60_000  # ms; the machine may be busy
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


def wait_for_words(page: Any, selector: str, words: str) -> None:
    """Wait until the first element shows exactly this. Streamed text is drawn once a frame, after its event."""
    from playwright.sync_api import expect

    expect(page.locator(selector).first).to_have_text(words, timeout=TIMEOUT)


def sign_in(page: Any, stack: Stack, fragment: str = "") -> None:
    page.goto(f"{stack.url}/{fragment}")
    page.fill("#key", stack.key)
    page.keyboard.press("Enter")
    page.wait_for_selector("#app:not([hidden])")
