"""JSON schema of a Helm chart's values, out of their defaults.

Every object is closed: what is misspelt, Helm refuses. What is an object of Kubernetes has its form in FORMS, down to
where only Kubernetes itself can judge (OPEN).
"""

from __future__ import annotations

from typing import Any, Final

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
TEXT: Final[dict[str, Any]] = {"type": "string"}
BOOLEAN: Final[dict[str, Any]] = {"type": "boolean"}
COUNT: Final[dict[str, Any]] = {"type": "integer", "minimum": 0}
PERCENT: Final[dict[str, Any]] = {"type": "string", "pattern": "^(100|[0-9]{1,2})%$"}
# An object that belongs to Kubernetes: its API server checks it.
OPEN: Final[dict[str, Any]] = {"type": "object", "additionalProperties": True}
TEXTS: Final[dict[str, Any]] = {"type": "object", "additionalProperties": TEXT}
# `cpu: 1` is a number in YAML, and Kubernetes takes it.
QUANTITIES: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": {"anyOf": [TEXT, {"type": "number", "minimum": 0}]},
}

NUMBER_OR_TEXT: Final[dict[str, Any]] = {"anyOf": [TEXT, {"type": "number", "minimum": 0}]}


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    found = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**found, "required": list(required)} if required else found


def listed(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


VOLUME: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": OPEN,
    "properties": {"name": TEXT},
    "required": ["name"],
    "minProperties": 2,
    "maxProperties": 2,
}
FORMS: Final[dict[str, dict[str, Any]]] = {
    "global": OPEN,  # a chart above this one puts there what it likes
    "resources": closed({"limits": QUANTITIES, "requests": QUANTITIES, "claims": listed(OPEN)}),
    "imagePullSecrets": listed(closed({"name": TEXT}, "name")),
    "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "env": listed(closed({"name": TEXT, "value": TEXT, "valueFrom": OPEN}, "name")),
    "tolerations": listed(
        closed(
            {
                "key": TEXT,
                "operator": {"enum": ["Exists", "Equal", "Lt", "Gt"]},
                "value": TEXT,
                "effect": {"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
                "tolerationSeconds": {"type": "integer"},
            }
        )
    ),
    "affinity": closed(dict.fromkeys(("nodeAffinity", "podAffinity", "podAntiAffinity"), OPEN)),
    "nodeSelector": TEXTS,
    "podAnnotations": TEXTS,
    "podLabels": TEXTS,
    "annotations": TEXTS,
    "extraVolumes": listed(VOLUME),
    "extraVolumeMounts": listed(
        closed(
            {
                **dict.fromkeys(("name", "mountPath", "subPath", "subPathExpr", "mountPropagation"), TEXT),
                "readOnly": BOOLEAN,
                "recursiveReadOnly": TEXT,
            },
            "name",
            "mountPath",
        )
    ),
    "spoolVolume": {"type": "object", "additionalProperties": OPEN, "maxProperties": 1},
    "extraEgress": listed(closed({"to": listed(OPEN), "ports": listed(OPEN)})),
    "extraIngress": listed(closed({"from": listed(OPEN), "ports": listed(OPEN)})),
    "previousVersions": listed(closed({"tag": TEXT, "buildId": TEXT, "replicas": COUNT})),
    "maxUnavailable": {"anyOf": [COUNT, PERCENT]},
    "minAvailable": {"anyOf": [COUNT, PERCENT, {"enum": [""]}]},
    "extraArgs": listed(TEXT),
    **dict.fromkeys(("keepExecutions", "keepCount", "keepBytes", "keepFiles"), NUMBER_OR_TEXT),
    "kind": {"enum": ["TriggerAuthentication", "ClusterTriggerAuthentication"]},
}
# Of values that are null by default.
UNSET: Final[dict[str, dict[str, Any]]] = {
    "enabled": {"enum": [True, False, None]},
    "replicas": {"anyOf": [COUNT, {"enum": [None]}]},
}


def schema_of(title: str, defaults: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a chart's values; `more` is what has one of its own."""
    properties = {"global": FORMS["global"], **_object(defaults)["properties"], **more}
    return {"$schema": DIALECT, "title": f"Values of the chart {title}", **closed(properties)}


def _object(defaults: dict[str, Any]) -> dict[str, Any]:
    return closed({name: _property(name, value) for name, value in defaults.items()})


def _property(name: str, value: Any) -> dict[str, Any]:
    """Return the schema of a value from its form, or from its default. Raises KeyError for one that has neither."""
    if value is None:
        return UNSET[name]
    if name in FORMS:
        return FORMS[name]
    if isinstance(value, dict) and value:
        return _object(value)
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, int):
        return COUNT
    if isinstance(value, str):
        return TEXT
    raise KeyError(f"{name}: an empty object or list needs its form in FORMS")
