"""The parts of the Helm charts that are written: the values' schemas, and what comes from the table of settings.

A value has the name of its setting, in the manner of Helm (`log_format` is `logFormat`). Those that the chart has a
default or a use of its own for stand in the upper part of values.yaml, by hand; the others below the mark.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml

from kubiya_worker.launch.docker import ALWAYS_PASSED
from kubiya_worker.launch.service import credential_of
from kubiya_worker.settings.file import text_of
from kubiya_worker.settings.table import OPTIONS, Option
from scripts import chart_schema

CHART: Final = Path(__file__).parents[1] / "deploy" / "helm" / "kubiya-worker"
CONTROL_PLANE: Final = CHART.parent / "kubiya-control-plane"
VALUES: Final = CHART / "values.yaml"
MARK: Final = "# Written by scripts/docs from here on: the other settings of the worker"
# What the chart itself decides for a pod, and what makes no sense in one that is started anew whenever it ends, or in
# several.
OWN: Final = frozenset({"worker_hostname", "worker_id", "metrics_port", "metrics_host", "single_execution"})


def pages() -> dict[Path, str]:
    """The charts' files that are written, by their paths."""
    server = yaml.safe_load((CONTROL_PLANE / "values.yaml").read_text(encoding="utf-8"))
    own = VALUES.read_text(encoding="utf-8").partition(MARK)[0]
    return {
        VALUES: own + values(yaml.safe_load(own)),
        CHART / "values.schema.json": _text(schema(yaml.safe_load(own))),
        CHART / "templates" / "_settings.tpl": template(),
        CONTROL_PLANE / "values.schema.json": _text(chart_schema.schema_of(CONTROL_PLANE.name, server, {})),
    }


def _text(made: dict[str, Any]) -> str:
    return json.dumps(made, indent=2) + "\n"


def options() -> list[Option]:
    """Return the options that are values of the chart."""
    return [o for o in OPTIONS if o.env and not o.secret and o.role in ("worker", "file") and o.name not in OWN]


def value_of(option: Option) -> str:
    first, *rest = option.name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def values(own: dict[str, Any]) -> str:
    """The written part of values.yaml: what the worker does without each value."""
    lines = [
        f"{MARK}. Left out, they",
        "# have the worker's own defaults. Files have to be in the pod: see extraVolumes.",
        "",
    ]
    for option in options():
        if value_of(option) in own:
            continue
        default = "" if option.default in (None, "") else f" (default: {text_of(option.default)})"
        lines += [f"# {option.help}{default}", f"{value_of(option)}:"]
    return "\n".join(lines) + "\n"


def schema(own: dict[str, Any]) -> dict[str, Any]:
    """JSON schema of the values: what is misspelt, or what the worker would refuse, Helm refuses before."""
    given = {}
    for option in options():
        value = value_of(option)
        allowed = [option.parse.schema, {"enum": ["", None]}]
        if isinstance(own.get(value), int):  # the templates reckon with it
            allowed = [{**_number(option.parse.schema), "type": "integer"}]
        given[value] = {"description": option.help, "anyOf": allowed}
    return chart_schema.schema_of(CHART.name, own, given)


def _number(schema: dict[str, Any]) -> dict[str, Any]:
    return next(s for s in schema.get("anyOf", [schema]) if s["type"] in ("integer", "number"))


def template() -> str:
    """Variables of the container, by the names that the worker guide has where it has one."""
    named = "\n".join(
        f'  "{value_of(option)}" "{ALWAYS_PASSED.get(option.name, option.env[0])}"' for option in options()
    )
    secrets = "\n".join(_secret(option) for option in OPTIONS if option.secret)
    return f"""{{{{/* Written by scripts/docs from kubiya_worker/settings/table.py. */}}}}
{{{{- define "worker.settings" -}}}}
{{{{- $variables := dict
{named}
-}}}}
{{{{- range $value, $variable := $variables }}}}
{{{{- $given := index $.Values $value }}}}
{{{{- if not (or (kindIs "invalid" $given) (eq (toString $given) "")) }}}}
- name: {{{{ $variable }}}}
  value: {{{{ kindIs "string" $given | ternary (toJson $given) (toJson $given | quote) }}}}
{{{{- end }}}}
{{{{- end }}}}
{{{{- end }}}}

{{{{- define "worker.secrets" -}}}}
{secrets}
{{{{- end }}}}
"""


def _secret(option: Option) -> str:
    """A key of the one secret; a worker can do without all but its own."""
    optional = "" if option.name == "api_key" else "\n      optional: true"
    return f"""- name: {option.env[0]}
  valueFrom:
    secretKeyRef:
      name: {{{{ include "worker.secret" . }}}}
      key: {credential_of(option.env[0])}{optional}"""
