"""This module reads what monitors send: Alertmanager, Grafana, PagerDuty, Zabbix. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from kubiya_worker.server.hooks import alert as a
from kubiya_worker.server.hooks.alert import FIRING, RESOLVED, Alert, BadShape

SHOWN: Final = 20  # alerts of a group that are described one by one
_PAGERDUTY_OVER: Final = ("incident.resolved",)


def alertmanager(body: Any, headers: Mapping[str, str]) -> Alert:
    """Read a group of alerts, in the shape with the version 4."""
    return _group(body, "alertmanager")


def grafana(body: Any, headers: Mapping[str, str]) -> Alert:
    """Read a group of alerts of Grafana: Alertmanager's shape and more."""
    group = _group(body, "grafana")
    titles = {"title": a.line(body.get("title")) or group.title}
    message = a.text(body.get("message"))
    return Alert(**{**vars(group), **titles, "text": message or group.text})


def _group(body: Any, source: str) -> Alert:
    alerts = a.within(body, "alerts")
    if not isinstance(alerts, list) or not alerts or not all(isinstance(alert, Mapping) for alert in alerts):
        raise BadShape("alerts", "is a list of objects in what this sender sends")
    firing = [alert for alert in alerts if alert.get("status") != RESOLVED]
    status = RESOLVED if body.get("status") == RESOLVED or not firing else FIRING
    about = firing or alerts
    common, grouped = body.get("commonLabels"), body.get("groupLabels")
    labels = a.labels(common, grouped, about[0].get("labels") if len(alerts) == 1 else None)
    group = a.line(body.get("groupKey"), 2_000) or a.digest(*(f"{k}={v}" for k, v in sorted(labels.items())))
    began = sorted(filter(None, (a.time(alert.get("startsAt")) for alert in about)))
    ended = sorted(filter(None, (a.time(alert.get("endsAt")) for alert in alerts)))
    started_at = began[0] if began else ""
    name = a.line(a.first(a.within(common, "alertname"), a.within(about[0], "labels", "alertname"), "alert"))
    summary = a.line(a.first(a.within(body, "commonAnnotations", "summary"), _annotation(about[0], "summary")))
    described = "\n".join(_described(alert) for alert in alerts[:SHOWN])
    more = len(alerts) - SHOWN + int(body.get("truncatedAlerts") or 0)
    return Alert(
        source=source,
        id=f"{group}|{started_at}",
        group=group,
        status=status,
        severity=a.severity(a.first(labels.get("severity"), a.within(about[0], "labels", "severity"))),
        title=f"{name}: {summary}" if summary else f"{name} ({len(about)})",
        text=a.text(f"{described}\nand {more} more" if more > 0 else described),
        url=next(
            filter(None, (a.url(link) for link in (*_links(about[0]), body.get("externalURL")))),
            "",
        ),
        labels=labels,
        started_at=started_at,
        ended_at=ended[-1] if ended and status == RESOLVED else "",
        event=status,
        raw=body,
        state=a.digest(
            status, *sorted(f"{_fingerprint(alert)} {alert.get('status')} {alert.get('startsAt')}" for alert in alerts)
        ),
    )


def _links(one: Mapping[str, Any]) -> tuple[Any, ...]:
    return one.get("panelURL"), one.get("dashboardURL"), one.get("generatorURL")


def _annotation(one: Mapping[str, Any], name: str) -> Any:
    return a.within(one, "annotations", name)


def _fingerprint(one: Mapping[str, Any]) -> str:
    labels = one.get("labels")
    plain = sorted(labels.items()) if isinstance(labels, Mapping) else ()
    return str(one.get("fingerprint") or plain)


def _described(one: Mapping[str, Any]) -> str:
    labels = a.labels(one.get("labels"))
    about = ", ".join(f"{name}={value}" for name, value in labels.items())
    summary = " ".join(filter(None, (a.line(_annotation(one, name), 600) for name in ("summary", "description"))))
    return f"- {a.line(one.get('status')) or FIRING}: {about}{'. ' + summary if summary else ''}"


def pagerduty(body: Any, headers: Mapping[str, str]) -> Alert:
    """Read an event of a V3 webhook; what is about an incident is in the group of the incident."""
    event = a.within(body, "event")
    if not isinstance(event, Mapping) or not event.get("event_type"):
        raise BadShape("event.event_type", "is missing: this is no V3 webhook of PagerDuty")
    kind, data = a.line(event["event_type"]), a.inner(event, "data")
    incident = a.inner(data, "incident") or data
    incident_key = a.line(incident.get("id")) or a.line(event.get("id"))
    over = kind in _PAGERDUTY_OVER or incident.get("status") == RESOLVED
    details = {
        "service": a.within(data, "service", "summary"),
        "urgency": data.get("urgency"),
        "priority": a.within(data, "priority", "summary"),
        "number": data.get("number"),
        "incident_key": data.get("incident_key"),
    }
    return Alert(
        source="pagerduty",
        id=f"{incident_key}|{a.time(data.get('created_at'))}",
        group=incident_key,
        status=RESOLVED if over else FIRING,
        severity=a.severity(a.first(a.within(data, "priority", "summary"), data.get("urgency"))),
        title=a.line(a.first(data.get("title"), incident.get("summary"), kind)),
        text=a.text(a.first(data.get("content"), data.get("description"), data.get("resolve_reason"))),
        url=a.url(a.first(incident.get("html_url"), data.get("html_url"))),
        labels=a.labels(details),
        started_at=a.time(a.first(data.get("created_at"), event.get("occurred_at"))),
        ended_at=a.time(event.get("occurred_at")) if over else "",
        event=kind,
        raw=body,
        state=a.digest(incident_key, kind, a.line(event.get("id"))),
        number=a.line(event.get("id")),
    )


def pagerduty_events(body: Any, headers: Mapping[str, str]) -> Alert:
    """Read what is sent to PagerDuty by its Events API v2, for senders that can do that and are pointed here."""
    action = a.line(a.within(body, "event_action"))
    if action not in ("trigger", "acknowledge", "resolve") or not isinstance(body, Mapping):
        raise BadShape("event_action", "is trigger, acknowledge or resolve in PagerDuty's Events API v2")
    payload = a.inner(body, "payload")
    if action == "trigger" and not payload.get("summary"):
        raise BadShape("payload.summary", "is missing: an event that triggers has one")
    place = {name: payload.get(name) for name in ("source", "component", "group", "class")}
    named = a.line(body.get("dedup_key"), 2_000) or a.digest(*(a.line(value) for value in place.values()))
    over, details = action == "resolve", payload.get("custom_details")
    links = body.get("links")
    link = (
        next((link.get("href") for link in links if isinstance(link, Mapping)), None)
        if isinstance(links, list)
        else None
    )
    text = details if isinstance(details, str) else json.dumps(details, indent=2, ensure_ascii=False) if details else ""
    return Alert(
        source="pagerduty-events",
        id=f"{named}|{a.time(payload.get('timestamp'))}" if payload.get("timestamp") else named,
        group=named,
        status=RESOLVED if over else FIRING,
        severity=a.severity(payload.get("severity")),
        title=a.line(a.first(payload.get("summary"), action)),
        text=a.text(text),
        url=a.url(a.first(link, body.get("client_url"))),
        labels=a.labels(place, {"client": body.get("client")}, details),
        started_at=a.time(payload.get("timestamp")),
        event=action,
        raw=body,
        state=a.digest(named, action, a.line(payload.get("summary"), 2_000), a.line(payload.get("severity"))),
    )


def zabbix(body: Any, headers: Mapping[str, str]) -> Alert:
    """Read what the media type in deploy/zabbix sends: the macros of an event, by the names of the macros."""
    number = a.line(a.within(body, "event_id"))
    if not number or not isinstance(body, Mapping):
        raise BadShape("event_id", "is missing: use the media type of deploy/zabbix")
    over, problem = str(body.get("event_value")) == "0", a.line(a.first(body.get("trigger_id"), number))
    updated = str(body.get("update_status")) == "1"
    raw_tags = body.get("tags")
    tags = raw_tags if isinstance(raw_tags, list) else []
    labels = a.labels(
        {"host": body.get("host"), "host_ip": body.get("host_ip"), "operational_data": body.get("opdata")},
        {str(tag.get("tag")): tag.get("value") for tag in tags if isinstance(tag, Mapping)},
    )
    return Alert(
        source="zabbix",
        id=number,
        group=f"{problem}|{labels.get('host', '')}",
        status=RESOLVED if over else FIRING,
        severity=a.severity(body.get("severity")),
        title=a.line(a.first(body.get("name"), body.get("subject"))),
        text=a.text(body.get("message")),
        url=a.url(body.get("url")),
        labels=labels,
        started_at=a.time(body.get("started_at")),
        ended_at=a.time(body.get("ended_at")) if over else "",
        event="recovery" if over else "update" if updated else "problem",
        raw=body,
        state=a.digest(number, str(over), str(updated), a.line(body.get("message"), 1_000) if updated else ""),
    )
