"""The page's list of 100,000 executions: its first and its last pages, filters, and a rare text."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from scripts.bench import filled_plane
from tests.support import databases
from tests.support.browser import sign_in
from tests.support.control_plane import ControlPlane

MANY = 100_000
PAGE = 50
LAST = """async () => {
  const ask = async (query) => (await fetch(`/api/v1/executions?summary=true&${query}`)).json();
  let cursor = "", pages = 0, seen = 0, longest = 0;
  while (cursor !== null) {
    const began = performance.now();
    const found = await ask(`limit=500&cursor=${cursor}`);
    longest = Math.max(longest, performance.now() - began);
    [cursor, pages, seen] = [found.next, pages + 1, seen + found.executions.length];
  }
  return { pages, seen, longest };
}"""

pytestmark = pytest.mark.slow


def test_a_list_of_a_hundred_thousand_is_read_to_its_end(page: Any, tmp_path: Path) -> None:
    place = databases.place(tmp_path)
    with ControlPlane(tmp_path, database=place):
        pass
    ids = filled_plane.fill(place, MANY, events=2)
    with ControlPlane(tmp_path, database=place) as plane:
        sign_in(page, plane)  # type: ignore[arg-type]
        rows = page.locator("#rows li")
        page.wait_for_function("() => document.querySelectorAll('#rows li').length === 50")
        took = []
        for number in range(2, 22):
            began = time.monotonic()
            page.click("#older")
            page.locator("#page-number", has_text=f"Page {number}").wait_for()
            first = ids[-1 - (number - 1) * PAGE]
            page.locator(f"#rows li a[href$='{first}']").wait_for()
            took.append(time.monotonic() - began)
        told = page.evaluate(LAST)
        print(f"a click on Next: {sorted(took)[10] * 1000:.0f} ms, at most {max(took) * 1000:.0f} ms; all pages {told}")
        assert told["seen"] == MANY
        page.goto(f"{plane.url}/#/?text={filled_plane.RARE}")
        page.wait_for_function("() => document.querySelectorAll('#rows li').length < 50")  # those of the search
        while rows.count() == 0:  # a search goes on for ten looks, and then with Next
            before = page.inner_text("#page-number")
            page.click("#older")
            page.wait_for_function("was => document.querySelector('#page-number').textContent !== was", arg=before)
        page.locator(f"#rows li a[href$='{ids[MANY // 50]}']").wait_for()
        assert rows.count() == 1
