"""This module makes the request that brings a run's answer back to where its alert came from. Pure."""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from kubiya_worker.server import template
from kubiya_worker.server.hooks import alert as a
from kubiya_worker.server.proof import standard_key

GITHUB: Final = "https://api.github.com"
LONGEST: Final = 60_000  # characters of an answer; GitHub takes 65,536
NAMES: Final = ("answer", "status", "error", "execution_id", "hook", "alert", "url")
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
_DEFAULT: Final = "{{answer}}"


class NoReply(Exception):
    """Nothing can be sent for this execution; the text says why."""


@dataclass(frozen=True)
class ReplyRequest:
    url: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict, repr=False)


def values_of(hook: Mapping[str, Any], execution: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reply can say of a run."""
    alert = (execution.get("hook") or {}).get("alert") or {}
    return {
        "answer": a.text(execution.get("response") or execution.get("error_message"), LONGEST),
        "status": execution["status"],
        "error": a.text(execution.get("error_message"), 2_000),
        "execution_id": execution["id"],
        "hook": hook["name"],
        "alert": alert,
        "url": alert.get("url") or "",
    }


def request_of(
    hook: Mapping[str, Any], execution: Mapping[str, Any], secrets: Mapping[str, str], now: float
) -> ReplyRequest:
    """Return the request; `secrets` has the values of `token`, `secret` and `headers`, filled in. Raises NoReply."""
    reply, values = hook["reply"], values_of(hook, execution)
    if reply["kind"] == "github":
        return _comment(reply, values, secrets)
    if reply["kind"] == "grafana":
        return _annotation(reply, values, secrets, now)
    return _webhook(reply, values, secrets, now)


def written(reply: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Return the text of the reply's template; a value that is no text is JSON, and one that is missing is empty."""

    def plain(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return template.fill_by(values, reply.get("template") or _DEFAULT, plain, "")


def _webhook(
    reply: Mapping[str, Any], values: Mapping[str, Any], secrets: Mapping[str, str], now: float
) -> ReplyRequest:
    """Make a POST of JSON. A template is JSON in which every value is written as a JSON value."""
    if reply.get("template"):
        text = template.fill_by(values, reply["template"], lambda value: json.dumps(value, ensure_ascii=False), "null")
    else:
        text = json.dumps({name: values[name] for name in NAMES if name != "url"}, ensure_ascii=False)
    body = text.encode()
    headers = {"content-type": "application/json"}
    for name in reply.get("headers") or {}:
        headers[name.lower()] = secrets[f"headers.{name}"]
    if reply.get("secret"):
        headers |= _signed(secrets["secret"], str(values["execution_id"]), body, now)
    return ReplyRequest(reply["url"], body, headers)


def _signed(secret: str, number: str, body: bytes, now: float) -> dict[str, str]:
    """Return the headers of a Standard Webhook; the id is the same at every try."""
    at = str(int(now))
    mac = hmac.new(standard_key(secret), f"{number}.{at}.".encode() + body, "sha256").digest()
    signature = f"v1,{base64.b64encode(mac).decode()}"
    return {"webhook-id": number, "webhook-timestamp": at, "webhook-signature": signature}


def _comment(reply: Mapping[str, Any], values: Mapping[str, Any], secrets: Mapping[str, str]) -> ReplyRequest:
    labels = values["alert"].get("labels") or {}
    repository, number = labels.get("repository", ""), labels.get("number", "")
    # Both come from a delivery: without this check they could lead the token to another path.
    if not _REPOSITORY.fullmatch(repository) or ".." in repository or not number.isdecimal():
        raise NoReply("The alert is about no issue or pull request, so there is nothing to comment on")
    base = str(reply.get("url") or GITHUB).rstrip("/")
    url = f"{base}/repos/{quote(repository)}/issues/{number}/comments"
    body = json.dumps({"body": written(reply, values)}, ensure_ascii=False).encode()
    accept = {"accept": "application/vnd.github+json"} if base == GITHUB else {}
    kind = "Bearer" if base == GITHUB else "token"  # Gitea and Forgejo know the second one
    return ReplyRequest(
        url, body, {"content-type": "application/json", "authorization": f"{kind} {secrets['token']}", **accept}
    )


def _annotation(
    reply: Mapping[str, Any], values: Mapping[str, Any], secrets: Mapping[str, str], now: float
) -> ReplyRequest:
    alert = values["alert"]
    began = _millis(alert.get("started_at"), now)
    annotation: dict[str, Any] = {
        "time": began,
        "timeEnd": max(began, int(now * 1000)),
        "tags": ["kubiya", str(values["hook"])],
        "text": written(reply, values),
    }
    url = f"{str(reply['url']).rstrip('/')}/api/annotations"
    headers = {"content-type": "application/json", "authorization": f"Bearer {secrets['token']}"}
    return ReplyRequest(url, json.dumps(annotation, ensure_ascii=False).encode(), headers)


def _millis(moment: Any, now: float) -> int:
    try:
        return int(datetime.fromisoformat(str(moment)).timestamp() * 1000)
    except ValueError:
        return int(now * 1000)
