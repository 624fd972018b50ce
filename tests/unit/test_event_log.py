"""Tests of the log lines that are made without structlog, such as those of the control plane."""

from __future__ import annotations

import logging

import pytest

from kubiya_worker.event_log import AGAIN, EventLogger, quoted
from kubiya_worker.server.log import LineFormatter
from kubiya_worker.server.temporal_outage import AGAIN as OUTAGE_AGAIN
from kubiya_worker.server.temporal_outage import TemporalOutage

NAME = "kubiya_worker.tests"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def failing() -> ZeroDivisionError:
    try:
        _ = 1 // 0
    except ZeroDivisionError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("value", "text"),
    [("plain", "plain"), ("two words", '"two words"'), ("", '""'), ('say "no"', '"say \\"no\\""'), ("a\nb", '"a\\nb"')],
)
def test_a_value_is_one_word_or_in_quotes(value: str, text: str) -> None:
    assert quoted(value) == text


def test_an_event_is_its_name_and_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, NAME):
        EventLogger(NAME).info("search.indexed", database="a b", error=None, seconds=1.234)
    assert caplog.messages == ['search.indexed database="a b" in 1.23s']


def test_an_event_below_the_level_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, NAME):
        EventLogger(NAME).info("search.indexed")
    assert caplog.messages == []


def test_a_fault_is_told_once_with_its_place_and_later_how_often_it_came(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    log, error = EventLogger(NAME, clock), failing()
    for _ in range(5):
        log.fault("tidy.failed", error)
    clock.now += AGAIN
    log.fault("tidy.failed", error)
    first, second = caplog.messages
    assert first.startswith('tidy.failed error="ZeroDivisionError: ') and "test_event_log.py" in first
    assert second == f"{first} repeated=4"


def test_two_faults_are_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    log = EventLogger(NAME)
    log.fault("tidy.failed", failing())
    log.fault("index.failed", failing())
    log.recurring("hooks.held", error="stopped")
    log.recurring("hooks.held", error="no queue")
    assert len(caplog.messages) == 4


def test_a_librarys_exception_is_one_line() -> None:
    error = failing()
    record = logging.LogRecord("uvicorn", logging.ERROR, "", 1, "broken\nat %s", ("x",), (type(error), error, None))
    text = LineFormatter().format(record)
    assert "\n" not in text
    assert ' error broken\\nat x error="ZeroDivisionError: ' in text


def test_an_outage_of_temporal_is_two_lines_whoever_waits_for_it(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    outage = TemporalOutage("t:7233", clock)
    with caplog.at_level(logging.INFO):
        outage.ended()
        for _ in range(50):
            clock.now += 1
            outage.began("nobody answers")
        outage.ended()
        outage.ended()
    assert caplog.messages == [
        'temporal.unreachable address=t:7233 error="nobody answers"',
        "temporal.reachable address=t:7233 after=49s",
    ]


def test_an_outage_that_goes_on_is_told_again(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    outage = TemporalOutage("t:7233", clock)
    outage.began("a")
    clock.now += OUTAGE_AGAIN
    outage.began("a")
    assert len(caplog.messages) == 2
