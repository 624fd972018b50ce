"""Errors that come with status 200, and reasons in the words of all servers."""

from __future__ import annotations

from typing import Any

import pytest

from kubiya_worker.models import base
from kubiya_worker.models.wire import embedded_errors, finish_reasons


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ({"error": {"message": "no", "code": 400}}, 400),
        ({"error": {"message": "no", "code": "429"}}, 429),
        ({"error": {"message": "no", "type": "overloaded_error"}}, 503),
        ({"error": {"message": "no", "type": "server_error"}}, 500),
        ({"error": "no"}, None),
        ({"object": "error", "message": "no", "code": 400, "type": "BadRequestError"}, 400),
        ({"type": "error", "error": {"type": "rate_limit_error", "message": "no"}}, 429),
        ({"choices": [{"index": 0, "delta": {}, "error": {"code": 502, "message": "no"}}]}, 502),
        ({"base_resp": {"status_code": 1004, "status_msg": "no"}}, None),
        ({"code": "InvalidParameter", "message": "no"}, None),
        ({"detail": "no"}, None),
        ({"errors": [{"message": "no"}]}, None),
        ({"error_code": 336003, "error_msg": "no"}, None),
        ({"Message": "no"}, None),
        ({"Error": {"Code": "X", "Message": "no"}}, None),
        ({"Response": {"Error": {"Code": "AuthFailure", "Message": "no"}, "RequestId": "x"}}, None),
        ({"ResponseMetadata": {"Error": {"Code": "unauthorized", "Message": "no"}}}, None),
        ({"header": {"code": 10013, "message": "no", "status": 2}}, None),
        ({"fault": {"faultstring": "no"}}, None),
        ({"status": "error", "reason": "no"}, None),
        ({"ok": False, "reason": "no"}, None),
        ({"success": False, "info": "no"}, None),
        ({"event": "error", "data": {"message": "no"}}, None),
        ({"statusCode": 503, "message": "no"}, 503),
        ({"error_code": "INTERNAL_ERROR", "message": "no"}, 500),
        ({"choices": [{"delta": {}}], "x_groq": {"error": "no"}}, None),
        ({"choices": None, "message": "no"}, None),
    ],
)
def test_errors_in_a_body(value: dict[str, Any], status: int | None) -> None:
    error = embedded_errors.error_in(value)
    assert "no" in str(error)
    assert embedded_errors.status_of(error) == status


@pytest.mark.parametrize(
    "value",
    [
        {"choices": [], "error": None},
        {"choices": [{"delta": {}}], "error": {"code": None, "message": None}},
        {"choices": [{"delta": {}}], "error": {"code": 0, "message": "success"}},
        {"choices": [{"index": 0, "delta": {}, "error": {"code": 0, "message": ""}}]},
        {"choices": [{"index": 1, "delta": {}, "error": {"code": 500, "message": "no"}}]},
        {"choices": [{"delta": {"content": "an error"}}], "message": "fine"},
        {"choices": [], "base_resp": {"status_code": 0, "status_msg": ""}},
        {"type": "ping"},
        {"status": "processing"},
        {"choices": [{"delta": {"content": "a"}}], "success": False},
        {"choices": [{"delta": {"content": "a"}}], "x_groq": {"id": "r"}},
        {"header": {"code": 0, "message": "Success"}},
        {"message": {"role": "assistant", "content": "fine"}, "done": False},
        {"response": {"choices": [], "error": None}},
        {},
        [],
        "text",
        None,
    ],
)
def test_what_is_no_error(value: Any) -> None:
    assert embedded_errors.error_in(value) is None


def test_an_error_event_may_hold_only_words() -> None:
    assert embedded_errors.error_in("out of memory", "error") == {"error": {"message": "out of memory"}}
    assert embedded_errors.error_in({"code": 7}, "error") == {"code": 7}


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("stop", base.STOP),
        ("STOP", base.STOP),
        ("end_turn", base.STOP),
        ("eos", base.STOP),
        ("function_call", base.TOOL_CALLS),
        ("MAX_TOKENS", base.LENGTH),
        ("max_output_tokens", base.LENGTH),
        ("out_of_tokens", base.LENGTH),
        ("context_length", base.LENGTH),
        ("sensitive", base.CONTENT_FILTER),
        ("kv_cache_full", finish_reasons.GIVEN_UP),
        ("worker_disconnected", finish_reasons.GIVEN_UP),
        ("failed_generation", finish_reasons.ERROR),
        ("insufficient_system_resource", finish_reasons.GIVEN_UP),
        ("network-error", finish_reasons.GIVEN_UP),
        ("MALFORMED_FUNCTION_CALL", finish_reasons.ERROR),
        ("tuesday", finish_reasons.UNKNOWN),
    ],
)
def test_each_finish_reason_has_its_kind(word: str, kind: str) -> None:
    assert finish_reasons.kind_of(word) == kind
