"""The page before a run of 20,000 events and an output of 5 MB.

How long that takes is measured by `scripts.bench.page`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import big_runs
from tests.support.browser import sign_in
from tests.support.stack import Stack

STEPS = 2000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        running.worker()
        yield running


def test_a_run_of_twenty_thousand_events_is_read_from_its_end_to_its_beginning(page: Any, stack: Stack) -> None:
    execution = stack.execute("Hold on", execution_metadata={"interactive": True})
    events = big_runs.steps(STEPS)
    assert len(events) == 20_000
    big_runs.post(stack, execution, events)
    sign_in(page, stack, f"#/executions/{execution}")
    page.locator(".message.assistant", has_text=f"Step {STEPS - 1}").wait_for()
    for _ in range(5):
        assert page.evaluate(big_runs.NODES) < big_runs.MOST_NODES
        before = page.inner_text("#timeline .earlier")
        page.evaluate("document.querySelector('#timeline .earlier').click()")  # without scrolling, which does the same
        page.wait_for_function("before => document.querySelector('.earlier').textContent !== before", arg=before)
    page.click("#latest")
    page.locator(".message.assistant", has_text=f"Step {STEPS - 1}").wait_for()


def test_an_output_of_five_megabytes_opens(page: Any, stack: Stack) -> None:
    execution = stack.execute("Hold on", execution_metadata={"interactive": True})
    big_runs.post(stack, execution, big_runs.call("shell", {"command": "cat"}, big_runs.long_output(5_000_000)))
    sign_in(page, stack, f"#/executions/{execution}")
    page.click(".tool summary")
    page.wait_for_selector(".tool .gap")
    assert "5.0 MB" in page.inner_text(".tool .gap")
    assert page.evaluate("document.querySelector('.tool').textContent.length") < 20_000
