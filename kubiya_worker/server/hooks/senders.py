"""This module knows the senders, and how the body of each becomes an alert. Pure."""

from __future__ import annotations

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
REPEATING: Final = frozenset({"alertmanager", "grafana", "zabbix"})
FORM: Final = "application/x-www-form-urlencoded"


def text_of(raw: bytes, content_type: str) -> bytes:
    """Return the JSON of a body; GitHub may send it as the field `payload` of a form."""
    if content_type.partition(";")[0].strip().lower() != FORM:
        return raw
    try:
        found = parse_qs(raw.decode(), strict_parsing=True, max_num_fields=20).get("payload")
    except ValueError as error:
        raise BadShape("payload", "is missing in the form") from error
    if not found:
        raise BadShape("payload", "is missing in the form")
    return found[0].encode()


def read(source: str, body: Any, headers: Mapping[str, str]) -> Alert:
    """Return what a delivery says. Raises BadShape."""
    return SENDERS[source](body, headers)
