"""Secrets are redacted in an answer while it streams, and in the thoughts that are stored."""

from __future__ import annotations

from typing import Any, cast

from kubiya_worker.activities.answer_redaction import RedactedAnswer, kept_thought
from kubiya_worker.activities.publisher import Publisher
from kubiya_worker.models.base import TEXT, THINKING, THOUGHT, Delta
from kubiya_worker.tools.redaction import Redactor

SECRET = "kby-canary-4711"


class Told:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def emit(self, event: dict[str, Any]) -> None:
        self.events.append(event)


def shown(*deltas: Delta) -> list[tuple[str, dict[str, Any]]]:
    told = Told()
    answer = RedactedAnswer(cast(Publisher, told), "m-1", "t", Redactor([SECRET]))
    for delta in deltas:
        answer.add(delta)
    answer.end()
    assert len({event["event_id"] for event in told.events}) == len(told.events)
    return [(event["event_type"], event["data"]) for event in told.events]


def test_each_thought_has_a_beginning_and_an_end() -> None:
    events = shown(
        Delta(THINKING, "one"),
        Delta(THOUGHT, "sig"),
        Delta(TEXT, "Hi. "),
        Delta(THINKING, "two", 1),
        Delta(THOUGHT, "", 1),
        Delta(THOUGHT, "sealed", 2),
    )
    assert [kind for kind, _ in events if kind != "message_chunk"] == [
        *("thinking_start", "thinking_delta", "thinking_complete"),
        *("thinking_start", "thinking_delta", "thinking_complete"),
    ]
    assert [data["signature"] for kind, data in events if kind == "thinking_complete"] == ["sig", ""]
    assert [data["index"] for kind, data in events if kind == "thinking_start"] == [0, 1]


def test_a_secret_that_two_pieces_share_is_not_shown() -> None:
    halves = SECRET[:7], SECRET[7:]
    for kind, end in ((THINKING, [Delta(THOUGHT, "")]), (TEXT, [])):
        events = shown(*(Delta(kind, half) for half in halves), Delta(kind, " done"), *end)
        text = "".join(str(data.get("thinking", data.get("content", ""))) for _, data in events)
        assert text == "[redacted] done"


def test_a_thought_that_held_a_secret_is_kept_without_it_and_without_its_signature() -> None:
    redactor = Redactor([SECRET])
    clean = {"content": "hm", "signature": "s", "details": {"a": 1}}
    assert kept_thought(clean, redactor) == clean
    assert kept_thought({**clean, "content": f"it is {SECRET}"}, redactor) == {"content": "it is [redacted]"}
