"""This module finds errors that come with status 200: in an event, in a choice, or instead of an answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kubiya_worker.models.wire.numbers import position

_WORDS: Final = ("message", "detail", "msg", "errors", "error_message", "error_msg", "status_msg", "fault")
_HOLDERS: Final = ("response", "header", "responsemetadata", "result")  # envelopes that may hold the error
_SUCCESS: Final = ("0", "200", "ok", "success")  # codes and words of an `error` that is none
_FAILED: Final = ("error", "fail", "failed", "failure")  # words of `status`
# Error types and codes, with the HTTP status that the same error has in a failed answer.
_STATUS: Final = {
    400: "invalid_request_error bad_request badrequesterror bad_request_error invalid_request",
    401: "authentication_error invalid_api_key unauthorized unauthenticated authenticationerror",
    402: "insufficient_credits payment_required billing_error",
    403: "permission_error permission_denied forbidden permissiondeniederror",
    404: "not_found_error model_not_found not_found notfounderror",
    408: "timeout timeout_error request_timeout",
    413: "request_too_large",
    429: "rate_limit_error rate_limit_exceeded rate_limited too_many_requests ratelimiterror resource_exhausted "
    "insufficient_quota",
    500: "server_error api_error internal_error internal_server_error internalservererror internal",
    503: "overloaded_error service_unavailable unavailable overloaded service_unavailable_error engine_overloaded",
    504: "deadline_exceeded gateway_timeout",
}
_BY_WORD: Final = {word: status for status, words in _STATUS.items() for word in words.split()}


def error_in(value: Any, name: str = "") -> Any:
    """Return the error that a value is or holds, in the form of a failed answer's body; None when there is none.

    `name` is the event's.
    """
    if isinstance(value, str):
        return {"error": {"message": value}} if name == "error" and value.strip() else None
    if not isinstance(value, Mapping):
        return None
    if (
        _is_error(value.get("error"), value)
        or name == "error"
        or value.get("object") == "error"
        or "error" in (value.get("type"), value.get("event"))
        or (not value.get("choices") and any(value.get(name) is False for name in ("ok", "success")))
    ):
        return dict(value)
    groq = value.get("x_groq")
    if isinstance(groq, Mapping) and groq.get("error"):
        return {"error": groq["error"]}
    for number, choice in enumerate(value["choices"] if isinstance(value.get("choices"), list) else ()):
        place = position(choice.get("index")) if isinstance(choice, Mapping) else None
        is_first = not (number if place is None else place)
        if is_first and isinstance(choice, Mapping) and _is_error(choice.get("error"), choice):
            return {"error": choice["error"]}
    base = value.get("base_resp")
    if isinstance(base, Mapping) and base.get("status_code"):
        words = base.get("status_msg") or "no explanation"
        return {"error": {"message": words, "code": base["status_code"]}, "base_resp": base}
    if value.get("choices") or (isinstance(value.get("choices"), list) and "message" not in value):
        return None
    named = {str(key).lower(): held for key, held in value.items()}
    if named.get("error") or any(named.get(word) and not _is_answer(named[word]) for word in _WORDS):
        return dict(value)
    if str(named.get("status")).lower() in _FAILED:
        return dict(value)
    holders = (held for key, held in named.items() if key in _HOLDERS and isinstance(held, Mapping))
    return next((dict(held) for held in holders if _tells(held)), None)


def _is_error(held: Any, around: Mapping[str, Any]) -> bool:
    """Return whether `error` says that something went wrong; some servers send it beside each piece of an answer."""
    if not isinstance(held, Mapping):
        return bool(held)
    if around.get("choices") and any(str(held.get(name)).lower() in _SUCCESS for name in ("code", "status", "message")):
        return False
    return any(held.values())


def _is_answer(held: Any) -> bool:
    return isinstance(held, Mapping) and ("role" in held or "content" in held)


def _tells(held: Mapping[str, Any]) -> bool:
    """Return whether an envelope holds an error, or a code other than the one for success."""
    return any(str(key).lower() == "error" and held[key] for key in held) or bool(
        held.get("code") and held.get("message")
    )


def status_of(body: Any) -> int | None:
    """Return the HTTP status that the error names by number or by type; None when it names none."""
    holders = [body, body.get("error")] if isinstance(body, Mapping) else []
    holders += [{"code": holder} for holder in holders if isinstance(holder, str)]
    for holder in holders:
        if not isinstance(holder, Mapping):
            continue
        for field in ("status_code", "statusCode", "httpCode", "status", "code", "error_code", "errorCode", "type"):
            value = str(holder.get(field) or "").strip()
            if value.isdecimal() and 400 <= int(value) <= 599:
                return int(value)
            if value.lower() in _BY_WORD:
                return _BY_WORD[value.lower()]
    return None
