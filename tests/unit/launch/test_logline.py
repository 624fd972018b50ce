"""Lines of a log, read back."""

from __future__ import annotations

import pytest

from kubiya_worker.launch.logline import Filter, parse, parse_since, rank

T = "2026-11-24T10:00:0{}.000000Z"
LINES = [
    f"{T.format(0)} debug loop.turn n=1",
    f"{T.format(1)} info worker.ready queue=q in 0.84s",
    f'{T.format(2)} error tool.failed execution=e1 error="said \\"no\\"\\nand left"',
    "Traceback (most recent call last):",
    "  boom",
    f"{T.format(3)} warning heartbeat.failing",
]


def test_a_line_is_its_facts() -> None:
    found = parse(LINES[2])
    assert (found["level"], found["event"], found["execution"]) == ("error", "tool.failed", "e1")
    assert found["error"] == 'said "no"\nand left'
    assert parse('{"timestamp": "t", "level": "info", "event": "x"}') == {"time": "t", "level": "info", "event": "x"}
    assert parse("segfault") == {"message": "segfault"}
    assert parse("{broken") == {"message": "{broken"}
    assert parse("{}") == {"time": None}


def test_level_is_a_minimum_and_a_traceback_goes_with_its_line() -> None:
    assert list(Filter(level=rank("warning")).select(LINES)) == LINES[2:]
    assert list(Filter(level=rank("error")).select(LINES)) == LINES[2:5]


def test_since_is_a_time() -> None:
    since = parse_since("2026-11-24T10:00:02Z", 0)
    assert list(Filter(since=since).select(LINES)) == LINES[2:]
    assert list(Filter(since=since, level=rank("warning")).select(LINES)) == LINES[2:]


def test_lines_of_an_execution_are_selected() -> None:
    assert list(Filter(text="e1").select(LINES)) == [LINES[2]]


def test_since_takes_spans_and_times() -> None:
    assert parse_since("10m", 1000) == 400
    assert parse_since("1.5h", 10_000) == 4600
    assert parse_since("1970-01-01T00:01", 0) == 60
    assert parse_since("1970-01-01T01:00:00+01:00", 0) == 0


@pytest.mark.parametrize("text", ["yesterday", "10", "-5m", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--since"):
        parse_since(text, 0)


def test_what_is_no_level_is_refused() -> None:
    with pytest.raises(ValueError, match="--level"):
        rank("loud")
