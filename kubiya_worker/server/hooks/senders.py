"""This module knows the senders, and how the body of each becomes an alert. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

from kubiya_worker.server.hooks import envelopes, forges, monitors
from kubiya_worker.server.hooks.alert import Alert, BadShape

Read = Callable[[Any, Mapping[str, str]], Alert]

SENDERS: Final[dict[str, Read]] = {
    "alertmanager": monitors.alertmanager,
    "grafana": monitors.grafana,
    "pagerduty": monitors.pagerduty,
    "pagerduty-events": monitors.pagerduty_events,
    "zabbix": monitors.zabbix,
    "github": forges.github,
    "gitlab": forges.gitlab,
    "gitea": forges.gitea,
    "forgejo": forges.forgejo,
    "standard": envelopes.standard,
    "cloudevents": envelopes.cloudevents,
    "json": envelopes.plain,
}
NAMES: Final = tuple(SENDERS)
# These send the same body again while an alert lasts: it is a repeat of the alert, and no replay of a delivery.
REPEATING: Final = frozenset({"alertmanager", "grafana", "pagerduty-events", "zabbix"})
FORM: Final = "application/x-www-form-urlencoded"


def text_of(raw: bytes, content_type: str, source: str) -> bytes:
    """Return the JSON of a body. Raises BadShape.

    `curl -d` and others send JSON as a form when nobody says what it is: a form never begins with a brace, which it
    would have to encode. GitHub may send its JSON as the field `payload` of a form, and whoever has no JSON sends the
    fields of our own form one by one (`envelopes.of_form`).
    """
    if content_type.partition(";")[0].strip().lower() != FORM or raw.lstrip()[:1] in (b"{", b"["):
        return raw
    try:
        form = parse_qs(raw.decode(), strict_parsing=True, max_num_fields=envelopes.MOST_FIELDS)
    except ValueError as error:
        raise BadShape("body", "is no JSON, and no form either") from error
    if payload := form.get("payload"):
        return payload[0].encode()
    if source != "json":
        raise BadShape("payload", "is missing in the form")
    return json.dumps(envelopes.of_form(form)).encode()


def read(source: str, body: Any, headers: Mapping[str, str]) -> Alert:
    """Return what a delivery says. Raises BadShape."""
    return SENDERS[source](body, headers)


def acknowledgement(source: str, alert: Alert) -> dict[str, str]:
    """Return what the clients of a sender's own service look for in its answer, beside the verdict."""
    if source != "pagerduty-events":
        return {}
    return {"status": "success", "message": "Event processed", "dedup_key": alert.group}
