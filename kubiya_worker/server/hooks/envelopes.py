"""This module reads what any program can send: Standard Webhooks, CloudEvents, and our own form as plain JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from kubiya_worker.server.hooks import alert as a
from kubiya_worker.server.hooks.alert import FIRING, RESOLVED, Alert, BadShape

_OVER: Final = frozenset({"resolved", "ok", "closed", "recovered", "recovery", "normal"})
FIELDS: Final = (
    *("id", "group", "status", "severity", "title", "text", "url"),
    *("started_at", "ended_at", "event"),
)
LABEL: Final = "labels."  # before a label's name, in a form
MOST_FIELDS: Final = 100


def of_form(form: Mapping[str, list[str]]) -> dict[str, Any]:
    """Return our own form from the fields of a web form, labels as `labels.NAME`. Raises BadShape."""
    body: dict[str, Any] = {}
    for name, values in form.items():
        if len(values) != 1:
            raise BadShape(a.line(name, 100), "comes more than once")
        if name in FIELDS:
            body[name] = values[0]
        elif name.startswith(LABEL) and name != LABEL:
            body.setdefault("labels", {})[name.removeprefix(LABEL)] = values[0]
        else:
            raise BadShape(a.line(name, 100), f"is no field; there are {', '.join(FIELDS)}, labels.NAME")
    return body


def _object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise BadShape("body", "is an object in what this sender sends")
    return body


def _alert_of(body: Mapping[str, Any], source: str, number: str) -> Alert:
    """Read the fields of our own form, of which any may be missing."""
    plain = json.dumps(body, sort_keys=True, ensure_ascii=False, default=str)
    identity = a.line(body.get("id"), 500) or number or a.digest(plain)
    group = a.line(body.get("group"), 2_000) or identity
    over = str(body.get("status") or "").strip().lower() in _OVER
    return Alert(
        source=source,
        id=identity,
        group=group,
        status=RESOLVED if over else FIRING,
        severity=a.severity(body.get("severity")),
        title=a.line(a.first(body.get("title"), body.get("subject"), body.get("summary"), body.get("name"))),
        text=a.text(a.first(body.get("text"), body.get("message"), body.get("description"))),
        url=a.url(a.first(body.get("url"), body.get("link"))),
        labels=a.labels(body.get("labels")),
        started_at=a.time(a.first(body.get("started_at"), body.get("timestamp"))),
        ended_at=a.time(body.get("ended_at")) if over else "",
        event=a.line(a.first(body.get("event"), body.get("type"))),
        raw=body,
        state=a.digest(identity, str(over), plain),
        number=number,
    )


def plain(body: Any, headers: Mapping[str, str]) -> Alert:
    """Read our own form: id, group, status, severity, title, text, url, labels, started_at, ended_at, event."""
    return _alert_of(_object(body), "json", a.line(headers.get("idempotency-key"), 200))


def standard(body: Any, headers: Mapping[str, str]) -> Alert:
    """Read {type, timestamp, data} of a Standard Webhook; `data` may have the fields of our own form."""
    body, number = _object(body), a.line(headers.get("webhook-id"), 200)
    inner = body.get("data") if isinstance(body.get("data"), Mapping) else body
    alert = _alert_of(inner, "standard", number)
    kind, at = a.line(body.get("type")) or alert.event, a.time(body.get("timestamp"))
    return Alert(
        **{
            **vars(alert),
            "title": alert.title or kind,
            "event": kind,
            "started_at": alert.started_at or at,
            "raw": body,
            "state": a.digest(number or alert.state, alert.status),
        }
    )


def cloudevents(body: Any, headers: Mapping[str, str]) -> Alert:
    """Read a CloudEvent, in the body (structured) or in `ce-` headers (binary); `data` may have our own form."""
    structured = isinstance(body, Mapping) and "specversion" in body
    attributes = (
        body if structured else {name.removeprefix("ce-"): v for name, v in headers.items() if name.startswith("ce-")}
    )
    for name in ("id", "source", "type"):
        if not attributes.get(name):
            raise BadShape(name, "is missing: a CloudEvent has specversion, id, source and type")
    data = attributes.get("data") if structured else body
    inner = data if isinstance(data, Mapping) else {}
    origin, subject, kind = (a.line(attributes.get(name), 500) for name in ("source", "subject", "type"))
    number = f"{origin} {a.line(attributes['id'], 200)}"
    alert = _alert_of(inner, "cloudevents", number)
    named = a.line(inner.get("group"), 2_000)
    return Alert(
        **{
            **vars(alert),
            "id": a.line(inner.get("id"), 500) or number,
            "group": named or (f"{origin} {subject}" if subject else number),
            "title": alert.title or " ".join(filter(None, (kind, subject))),
            "text": alert.text or a.text(data if isinstance(data, str) else None),
            "labels": {**a.labels({"source": origin, "subject": subject}), **alert.labels},
            "started_at": alert.started_at or a.time(attributes.get("time")),
            "event": kind,
            "raw": body,
            "state": a.digest(number, alert.status),
            "number": number,
        }
    )
