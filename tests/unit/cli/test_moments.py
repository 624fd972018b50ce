"""The commands say how long an execution took in one way."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.cli.moments import seconds_taken, took

ASKED, BEGUN, ENDED = "2026-11-29T10:00:00+00:00", "2026-11-29T10:00:08+00:00", "2026-11-29T10:00:12.500000+00:00"


@pytest.mark.parametrize(
    ("more", "seconds", "words"),
    [
        ({}, 12.5, "12 s"),  # from the request on, not from when a worker took it
        ({"sequel": None}, 12.5, "12 s"),
        ({"sequel": {"number": 1, "at": "2026-11-29T10:00:10Z"}}, 2.5, "2.5 s"),  # of what was asked last
        ({"completed_at": None}, None, ""),
        ({"created_at": "yesterday"}, None, ""),
    ],
)
def test_an_execution_took_the_time_from_what_was_asked_to_its_end(
    more: dict[str, Any], seconds: float | None, words: str
) -> None:
    run = {"created_at": ASKED, "started_at": BEGUN, "completed_at": ENDED, **more}
    assert (seconds_taken(run), took(run)) == (seconds, words)
