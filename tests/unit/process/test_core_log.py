"""The log has each line of the core once, where the core tells each try of each call while Temporal is away."""

from __future__ import annotations

import logging
from types import SimpleNamespace

from kubiya_worker.server.log import LineFormatter
from kubiya_worker.temporal_connection import core_log


def record(text: str, target: str = "temporalio_client::retry", level: int = logging.WARNING) -> logging.LogRecord:
    made = logging.LogRecord(core_log.CORE, level, "(core)", 0, text, (), None)
    made.temporal_log = SimpleNamespace(target=target, fields={"error": "refused", "task_token": "x"})
    return made


def test_a_line_that_differs_in_figures_comes_again_after_a_while_with_its_count() -> None:
    now = 0.0
    seldom = core_log.Seldom(lambda: now)
    assert seldom.filter(record("call a retried 5 times"))
    for number in range(6, 20):
        assert not seldom.filter(record(f"call a retried {number} times"))
    assert seldom.filter(record("call b retried 5 times")), "another call"
    assert seldom.filter(record("call a retried 5 times", "another::part"))
    now = core_log.AGAIN
    again = record("call a retried 30 times")
    assert seldom.filter(again)
    assert core_log.fields_of(again) == {"error": "refused", "repeated": 14}


def test_at_debug_each_line_passes() -> None:
    seldom, logger = core_log.Seldom(), logging.getLogger(core_log.CORE)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        assert seldom.filter(record("x")) and seldom.filter(record("x"))
    finally:
        logger.setLevel(before)


def test_the_log_of_the_control_plane_has_such_a_line_in_its_own_form() -> None:
    text = LineFormatter().format(record("call a retried 5 times"))
    assert text.endswith("Z warning call a retried 5 times error=refused")
    assert core_log.fields_of(logging.LogRecord("x", logging.INFO, "", 0, "x", (), None)) == {}
