"""This module has a sample delivery of each sender, to try a hook without the sender. Pure.

All were written by hand after the shapes that their senders document; none was recorded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True)
class Sample:
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)  # names in lower case


_ALERT: Final = {
    "status": "firing",
    "labels": {"alertname": "DiskFull", "instance": "web-1:9100", "mountpoint": "/var", "severity": "critical"},
    "annotations": {"summary": "The disk /var of web-1 is full", "description": "Only 2 % of /var are free."},
    "startsAt": "2026-11-29T06:12:03.511Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus.example:9090/graph?g0.expr=node_filesystem_avail_bytes",
    "fingerprint": "a3f5c7b1d2e4f608",
}
_GROUP: Final = {
    "receiver": "kubiya",
    "status": "firing",
    "alerts": [_ALERT],
    "groupLabels": {"alertname": "DiskFull"},
    "commonLabels": _ALERT["labels"],
    "commonAnnotations": _ALERT["annotations"],
    "externalURL": "http://alertmanager.example:9093",
    "version": "4",
    "groupKey": '{}:{alertname="DiskFull"}',
    "truncatedAlerts": 0,
}
_ISSUE: Final = {
    "number": 12,
    "title": "The nightly backup fails",
    "body": "Since Monday: no space left on device.",
    "html_url": "https://git.example/acme/infra/issues/12",
    "state": "open",
    "created_at": "2026-11-29T06:00:00Z",
}
_FORGE: Final = {
    "action": "opened",
    "issue": _ISSUE,
    "repository": {"full_name": "acme/infra", "html_url": "https://git.example/acme/infra"},
    "sender": {"login": "ada"},
}
_OWN: Final = {
    "id": "backup-2026-11-29",
    "group": "backup of web-1",
    "status": "firing",
    "severity": "error",
    "title": "The backup of web-1 failed",
    "text": "rsync: no space left on device",
    "labels": {"host": "web-1"},
    "started_at": "2026-11-29T02:00:00Z",
}
_NUMBER: Final = "72d3162e-cc78-11e3-81ab-4c9367dc0958"

SAMPLES: Final[dict[str, Sample]] = {
    "alertmanager": Sample(_GROUP),
    "grafana": Sample(
        {
            **_GROUP,
            "version": "1",
            "orgId": 1,
            "state": "alerting",
            "title": "[FIRING:1] DiskFull (web-1:9100)",
            "message": "The disk /var of web-1 is full",
            "alerts": [
                {
                    **_ALERT,
                    "values": {"A": 2},
                    "valueString": "[ var='A' value=2 ]",
                    "silenceURL": "https://grafana.example/alerting/silence/new",
                    "dashboardURL": "https://grafana.example/d/disks",
                    "panelURL": "https://grafana.example/d/disks?viewPanel=4",
                }
            ],
        }
    ),
    "pagerduty": Sample(
        {
            "event": {
                "id": "01DVUHO6P4XQDFJ9AHOADTRJM1",
                "event_type": "incident.triggered",
                "resource_type": "incident",
                "occurred_at": "2026-11-29T06:12:05.000Z",
                "data": {
                    "id": "PGR0VU2",
                    "type": "incident",
                    "self": "https://api.pagerduty.com/incidents/PGR0VU2",
                    "html_url": "https://acme.pagerduty.com/incidents/PGR0VU2",
                    "number": 2,
                    "status": "triggered",
                    "incident_key": "d3640fbd41094207a1c11e58e46b1662",
                    "created_at": "2026-11-29T06:12:05Z",
                    "title": "The disk /var of web-1 is full",
                    "service": {"id": "PF9KMXH", "summary": "Web", "type": "service_reference"},
                    "priority": {"id": "PSO75BM", "summary": "P1", "type": "priority_reference"},
                    "urgency": "high",
                },
            }
        }
    ),
    "pagerduty-events": Sample(
        {
            "event_action": "trigger",
            "dedup_key": "web-1/var",
            "client": "Nightly checks",
            "client_url": "https://checks.example",
            "links": [{"href": "https://checks.example/runs/31", "text": "The run"}],
            "payload": {
                "summary": "The disk /var of web-1 is full",
                "source": "web-1",
                "severity": "critical",
                "timestamp": "2026-11-29T06:12:05.000+0000",
                "component": "disk",
                "group": "web",
                "class": "capacity",
                "custom_details": {"mountpoint": "/var", "free": "2 %"},
            },
        }
    ),
    "zabbix": Sample(
        {
            "event_id": "51012",
            "event_value": "1",
            "update_status": "0",
            "severity": "High",
            "name": "/var: Disk space is critically low",
            "opdata": "Space used: 98 %",
            "tags": [{"tag": "scope", "value": "capacity"}],
            "trigger_id": "16001",
            "host": "web-1",
            "host_ip": "192.0.2.10",
            "subject": "Problem: /var: Disk space is critically low",
            "message": "Problem started at 06:12:03 on 2026.11.29",
            "url": "https://zabbix.example/tr_events.php?triggerid=16001&eventid=51012",
        }
    ),
    "github": Sample(_FORGE, {"x-github-event": "issues", "x-github-delivery": _NUMBER}),
    "gitea": Sample(_FORGE, {"x-gitea-event": "issues", "x-gitea-delivery": _NUMBER}),
    "forgejo": Sample(_FORGE, {"x-forgejo-event": "issues", "x-forgejo-delivery": _NUMBER}),
    "gitlab": Sample(
        {
            "object_kind": "pipeline",
            "user": {"username": "ada"},
            "project": {"path_with_namespace": "acme/infra", "web_url": "https://gitlab.example/acme/infra"},
            "object_attributes": {
                "id": 31,
                "ref": "main",
                "status": "failed",
                "created_at": "2026-11-29T06:00:00Z",
                "finished_at": "2026-11-29T06:09:00Z",
                "url": "https://gitlab.example/acme/infra/-/pipelines/31",
            },
        },
        {"x-gitlab-event": "Pipeline Hook", "x-gitlab-event-uuid": _NUMBER},
    ),
    "standard": Sample(
        {"type": "backup.failed", "timestamp": "2026-11-29T02:00:00Z", "data": _OWN},
        {"webhook-id": "msg_2Lh9KRb0pzN4LePd3XiA4v"},
    ),
    "cloudevents": Sample(
        {
            "specversion": "1.0",
            "id": "A234-1234-1234",
            "source": "/hosts/web-1",
            "type": "example.backup.failed",
            "subject": "backup",
            "time": "2026-11-29T02:00:00Z",
            "data": {"title": "The backup of web-1 failed", "severity": "error"},
        },
        {"content-type": "application/cloudevents+json"},
    ),
    "json": Sample(_OWN),
}
