"""Answers of a model are checked: an empty, a cut and a too large one are each told apart."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.activities import answer_checks
from kubiya_worker.models.base import ModelReply
from kubiya_worker.protocol import messages as m
from kubiya_worker.protocol.execution import Usage

USER = {"role": "user", "content": "go"}


def reply(content: str = "", finish: str = "stop", **fields: Any) -> ModelReply:
    about: dict[str, Any] = {"tool_calls": [], "thinking": [], "usage": Usage(10, 5), "model": "m", "provider": "p"}
    return ModelReply(content=content, finish_reason=finish, **{**about, **fields})


def test_an_answer_without_a_word_is_asked_for_again_and_has_cost_something() -> None:
    error = answer_checks.empty(reply(" \n"), USER)
    assert error is not None and error.retryable and error.usage == Usage(10, 5)
    assert "empty" in str(error)


def test_one_that_the_limit_cut_before_its_first_word_is_not() -> None:
    error = answer_checks.empty(reply(finish="length"), USER)
    assert error is not None and not error.retryable and "max_tokens" in error.remedy


def test_after_a_tool_a_model_may_end_without_a_word_and_a_person_is_told() -> None:
    silent = reply()
    assert answer_checks.empty(silent, {"role": "tool", "content": "done"}) is None
    assert "empty" in answer_checks.told(silent)


@pytest.mark.parametrize(("finish", "words"), [("length", "cut"), ("tuesday", "incomplete"), ("stop", ""), ("eos", "")])
def test_how_an_answer_ended(finish: str, words: str) -> None:
    said = answer_checks.told(reply("text", finish))
    assert words in said and bool(said) == bool(words)


@pytest.mark.parametrize("content", ["x" * 3_000_000, '"\n' * 1_000_000, "🎉" * 1_000_000])
def test_of_too_large_a_message_so_much_is_kept_as_fits(content: str) -> None:
    fitted = answer_checks.fitted({"role": "assistant", "content": content, "thinking": [{"a": "b"}]})
    assert answer_checks.LARGEST / 2 < m.size_of(fitted) <= answer_checks.LARGEST
    assert fitted["cut"] == "size" and content.startswith(fitted["content"])


def test_a_call_whose_arguments_are_too_large_is_not_run() -> None:
    calls = [{"id": "a", "name": "write", "arguments": "x" * 2_000_000}, {"id": "b", "name": "ls", "arguments": "{}"}]
    fitted = answer_checks.fitted({"role": "assistant", "content": "text", "tool_calls": calls})
    assert [call.get("cut") for call in fitted["tool_calls"]] == ["size", None]
    assert fitted["content"] == "text" and "cut" not in fitted
    assert calls[0]["arguments"] != "{}"  # what was given is left alone


def test_what_fits_is_left_as_it_is() -> None:
    message = {"role": "assistant", "content": "text", "thinking": [{"origin": "x"}]}
    assert answer_checks.fitted(message) is message
