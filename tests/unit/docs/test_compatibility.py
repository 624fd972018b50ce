"""docs/compatibility.md is written from the cases, and is current."""

from __future__ import annotations

import json

import pytest

from scripts import compatibility


def test_the_page_is_current() -> None:
    written = compatibility.PAGE.read_text(encoding="utf-8")
    assert written == compatibility.page(), "run: .venv/bin/python -m scripts.compatibility"


def test_every_case_and_every_kind_is_on_the_page() -> None:
    text = compatibility.page()
    for line in (compatibility.CASES / "models" / "cases.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        assert f"| `{case['id']}` |" in text
        assert f"### {case['kind'].replace('_', ' ')}\n" in text


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        (
            {"status": "completed", "requests": 2, "tool_calls": [{}, {}]},
            "the run is completed; 2 requests; its 2 calls are run",
        ),
        (
            {"status": ["failed", "completed"], "requests": {"max": 3}, "error_lacks": "sk-"},
            "the run fails and says why or the run is completed; at most 3 requests; no secret and no markup is shown",
        ),
        (
            {"wait_s": [2, 4.5], "sent_back": {"message": {"reasoning_details": []}}},
            "the next request comes after 2 to 4.5 s; `reasoning_details` goes back unchanged",
        ),
    ],
)
def test_what_is_expected_is_said_in_words(expect: dict[str, object], said: str) -> None:
    assert compatibility.outcome(expect) == said
