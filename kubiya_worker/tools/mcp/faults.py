"""This module names the errors between the worker and an MCP server, by type and status, never by a server's words."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from typing import Any, Final

from kubiya_worker.errors import Unavailable

REASON: Final = 300  # characters of a server's reason
BROKEN: Final = "the connection broke before it answered; the outcome is unknown"
METHOD_NOT_FOUND: Final = -32601  # by JSON-RPC
_FIELDS: Final = re.compile(r'\b(error|error_description|scope)="([^"]*)"')
_PAGE: Final = re.compile(r"\s*<(?:!doctype|html|head|body|\?xml)\b", re.IGNORECASE)
_WORDS: Final = ("error_description", "message", "detail", "error", "title", "reason", "msg")
# What servers answer to a session that they do not know. Some mean something else: a ping then tells which.
FORGOTTEN: Final = frozenset({400, 401, 404, 410})
TRY_AGAIN: Final = frozenset({408, 425, 429, 502, 503, 504})  # these statuses pass while a server starts


_ADDRESS: Final = "Check the server's `url`"
_REMEDIES: Final = {
    **dict.fromkeys((401, 403), "Check its `headers` or `oauth`"),
    **dict.fromkeys((301, 302, 303, 307, 308, 404, 405, 410), _ADDRESS),
    **dict.fromkeys((200, 201, 202, 203, 204), _ADDRESS),  # no message came
}


class SessionLost(Unavailable):
    """The session ended during a call: nobody knows whether the server has run it."""

    def __init__(self, server: str) -> None:
        super().__init__(f"The MCP server {server!r} ended while it worked; the outcome is unknown")


class HttpFault(Unavailable):
    """A message got an HTTP error status, or could not be sent (`status` 0).

    `sent` is False when the server certainly did not get it. `in_session` says that it named a session. `code` and
    `data` are those of the JSON-RPC error in the body. `cut` says that the connection broke before the answer.
    """

    def __init__(
        self,
        reason: str,
        *,
        status: int = 0,
        retry_after: float | None = None,
        sent: bool = True,
        in_session: bool = False,
        code: int | None = None,
        data: Mapping[str, Any] | None = None,
        cut: bool = False,
        remedy: str = "",
    ) -> None:
        self.reason, self.status, self.retry_after = reason, status, retry_after
        self.sent, self.in_session, self.code, self.data = sent, in_session, code, dict(data or {})
        self.cut = cut
        known = f"it answered {status} {_phrase(status)}".rstrip() if status else "" if sent else "it cannot be reached"
        text = ": ".join(part for part in (known, reason) if part)
        if retry_after:
            text += f" (it asks to wait {retry_after:.0f} s before the next try)"
        remedy = remedy or _REMEDIES.get(status, "")
        super().__init__(text, remedy="" if in_session and remedy == _ADDRESS else remedy)

    @property
    def may_have_forgotten(self) -> bool:
        """Return whether the server may have lost the session (then it has not run the call)."""
        return self.in_session and self.status in FORGOTTEN

    def wire(self) -> dict[str, Any]:
        """Return it as JSON, without `data`; `HttpFault(**wire)` is the same again."""
        names = ("reason", "status", "retry_after", "sent", "in_session", "code", "cut", "remedy")
        return {name: getattr(self, name) for name in names}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def reason_of(body: bytes, content_type: str) -> str:
    """Return the reason in an error's body, on one short line."""
    text = body[:65_536].decode("utf-8", "replace")
    try:
        reason = _text_of(json.loads(text))
    except (ValueError, RecursionError):
        reason = text
        if "html" in content_type.lower() or is_page(body):
            reason = html.unescape(re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.S | re.I))
    return " ".join(reason.split())[:REASON]


def is_page(body: bytes) -> bool:
    """Return whether a body is a web page, or another document of markup, whatever its type says."""
    return _PAGE.match(body[:200].decode("utf-8", "replace").removeprefix("\ufeff")) is not None


def code_of(body: bytes) -> int | None:
    """Return the code of the JSON-RPC error in a body."""
    code = _error_in(body).get("code")
    return code if isinstance(code, int) else None


def data_of(body: bytes) -> Mapping[str, Any]:
    """Return the data of the JSON-RPC error in a body, where they are an object."""
    data = _error_in(body).get("data")
    return data if isinstance(data, Mapping) else {}


def _error_in(body: bytes) -> Mapping[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    error = message.get("error") if isinstance(message, Mapping) and "jsonrpc" in message else None
    return error if isinstance(error, Mapping) else {}


def challenge_of(header: str | None) -> str:
    """Return what `WWW-Authenticate` says is wrong with the token (RFC 6750)."""
    fields = dict(_FIELDS.findall(header or ""))
    parts = [fields.get("error_description") or fields.get("error", "")]
    parts += [f"it asks for the scope {fields['scope']!r}"] if fields.get("scope") else []
    return "; ".join(part for part in parts if part)[:REASON]


def _text_of(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        texts = (_text_of(value[key]) for key in _WORDS if value.get(key))
        return next(filter(None, texts), "") or json.dumps(value)[:REASON]
    return json.dumps(value)[:REASON] if value else ""


def seconds_of(retry_after: str | None) -> float | None:
    """Return the seconds of a `Retry-After`: a number, or a date."""
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
        return max(0.0, seconds) if math.isfinite(seconds) else None  # JSON has no word for infinity
    except ValueError:
        pass
    try:
        return max(0.0, round(parsedate_to_datetime(retry_after).timestamp() - time(), 1))
    except (TypeError, ValueError):
        return None
