"""Tests of the supervisor's log lines."""

from __future__ import annotations

import pytest

from kubiya_worker._supervisor.lines import line


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pid": 41, "reason": None}, "pid=41"),
        ({"uptime": 17.0059}, "uptime=17.006s"),
        ({"seconds": 2.682, "pid": 41}, "pid=41 in 2.68s"),
        ({"how": "exit code 0"}, 'how="exit code 0"'),
        ({"how": ""}, 'how=""'),
        ({"why": 'a "b"\nc=d'}, 'why="a \\"b\\"\\nc=d"'),
    ],
)
def test_a_field_is_one_word_or_in_quotes_and_times_have_their_unit(fields: dict[str, object], said: str) -> None:
    text = line("info", "supervisor.x", **fields).decode()
    assert text.endswith(f"Z info supervisor.x {said}\n") and text.count("\n") == 1
