"""The charts as Helm's own engine renders them, the values to try them with, and the examples of the guide's pages."""

from __future__ import annotations

import functools
import itertools
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

helm_python = pytest.importorskip("helm_python", reason="Helm's engine: pip install 'kubiya-worker[dev]'")

ROOT = Path(__file__).parents[2]
WORKER = ROOT / "deploy" / "helm" / "kubiya-worker"
CONTROL_PLANE = ROOT / "deploy" / "helm" / "kubiya-control-plane"
CHARTS = (WORKER, CONTROL_PLANE)
PAGE = ROOT / "docs" / "deploy.md"
MANIFESTS = ROOT / "deploy" / "k8s"

BASE: dict[str, Any] = {"queueId": "q1", "existingSecret": "kubiya-secrets"}
KEDA: dict[str, Any] = {"enabled": True, "temporalAddress": "temporal:7233", "taskQueue": "7b1e"}
VERSIONS: dict[str, Any] = {
    **BASE,
    "deploymentName": "ops",
    "image": {"tag": "0.2.0"},
    "previousVersions": [{"tag": "0.1.0"}, {"tag": "0.1.0", "buildId": "b+7", "replicas": 2}],
}
OF_WORKER: dict[str, dict[str, Any]] = {
    "least": BASE,
    "key in the release": {"queueId": "q1", "apiKey": "kby_test"},
    "autoscaling": {**BASE, "autoscaling": {"enabled": True}},
    "keda": {**BASE, "keda": KEDA},
    "keda with an API key": {**BASE, "keda": {**KEDA, "authentication": {"secret": "temporal", "apiKey": "api-key"}}},
    "keda with mTLS": {
        **BASE,
        "keda": {
            **KEDA,
            "tlsServerName": "temporal.internal",
            "authentication": {
                **{"secret": "temporal", "cert": "tls.crt", "key": "tls.key", "ca": "ca.crt", "keyPassword": "password"}
            },
        },
    },
    "keda with somebody's login": {
        **BASE,
        "keda": {**KEDA, "authentication": {"existing": "theirs", "kind": "ClusterTriggerAuthentication"}},
    },
    "keda to zero": {**BASE, "keda": {**KEDA, "minReplicas": 0, "includeRunningWorkflowCount": True}},
    "versions": VERSIONS,
    "versions and autoscaling": {**VERSIONS, "autoscaling": {"enabled": True}},
    "versions and keda": {
        **VERSIONS,
        "keda": {**KEDA, "authentication": {"secret": "temporal", "apiKey": "api-key"}},
        "podDisruptionBudget": {"minAvailable": "50%"},
    },
    "everything": {
        **BASE,
        "autoscaling": {"enabled": True},
        "networkPolicy": {
            "enabled": True,
            "extraEgress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 5432}]}],
        },
        "metrics": {"port": 9191, "serviceMonitor": {"enabled": True}},
        "imagePullSecrets": [{"name": "registry"}],
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "agents", "operator": "Exists"}],
        "podAnnotations": {"a": "b"},
        "podLabels": {"team": "ops"},
        "env": [{"name": "AWS_REGION", "value": "eu-central-1"}],
        "resources": {"requests": {"cpu": 1, "memory": "1Gi", "ephemeral-storage": "5Gi"}, "limits": {"memory": "2Gi"}},
    },
    "no spool": {**BASE, "spoolMaxBytes": 0},
    "a spool that stays": {**BASE, "spoolVolume": {"persistentVolumeClaim": {"claimName": "spool"}}},
    "settings": {
        **BASE,
        "spoolMaxBytes": 5_000_000_001,
        "logFormat": "json",
        "debug": False,
        "payloadStorageFrom": 2_000_000,
        "modelIdleTimeout": "5m",
        "extensions": '/ext/a.py, "b & c.py"',
        "temporalTlsCa": "/etc/temporal/ca.pem",
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/temporal", "readOnly": True}],
    },
}

SQLITE: dict[str, Any] = {
    "image": {"repository": "registry.example.org/kubiya"},
    "temporal": {"address": "temporal:7233"},
}
POSTGRESQL: dict[str, Any] = {
    **SQLITE,
    "existingSecret": "control-plane-keys",
    "database": {"existingSecret": "control-plane-database"},
}
OIDC = {
    "issuer": "https://id.example.org",
    "clientId": "kubiya",
    "roles": "sre=approver,*=viewer",
    "groupsClaim": "roles",
    "existingSecret": "oidc",
}
OF_CONTROL_PLANE: dict[str, dict[str, Any]] = {
    "SQLite": SQLITE,
    "SQLite with given keys": {**SQLITE, "existingSecret": "control-plane-keys", "seed": True},
    "PostgreSQL": POSTGRESQL,
    "Temporal without TLS": {**POSTGRESQL, "temporal": {"address": "temporal:7233", "tls": {"enabled": False}}},
    "Temporal Cloud with an API key": {
        **POSTGRESQL,
        "temporal": {
            "address": "europe-west3.gcp.api.temporal.io:7233",
            "namespace": "my-namespace.a1b2c",
            "apiKeySecret": "temporal-cloud",
            "workerApiKey": "worker-api-key",
            "setup": True,
        },
    },
    "Temporal with mTLS": {
        **POSTGRESQL,
        "temporal": {
            "address": "temporal-frontend.temporal:7233",
            "workerAddress": "temporal.example.org:7233",
            "tls": {
                **{"enabled": True, "serverName": "temporal.example.org", "secret": "temporal-mtls"},
                **{"ca": "ca.crt", "cert": "tls.crt", "key": "tls.key"},
            },
            "setup": True,
        },
    },
    "a CA of Temporal's own": {
        **SQLITE,
        "temporal": {"address": "temporal:7233", "tls": {"secret": "temporal-ca", "ca": "ca.crt"}},
    },
    "everything on PostgreSQL": {
        **POSTGRESQL,
        "replicas": 3,
        "imagePullSecrets": [{"name": "registry"}],
        "publicUrl": "https://kubiya.example.org",
        "litellmApiBase": "https://models.example.org",
        "oidc": OIDC,
        "retention": {"keepExecutions": 30, "keepCount": "100000", "keepFiles": 0.5},
        "files": {"existingClaim": "run-files"},
        "ingress": {"enabled": True, "className": "nginx", "host": "kubiya.example.org", "tlsSecret": "kubiya-tls"},
        "networkPolicy": {
            "enabled": True,
            "extraIngress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": "http"}]}],
            "extraEgress": [{"ports": [{"port": 4000}]}],
        },
        "podDisruptionBudget": {"minAvailable": "50%"},
        "metrics": {"serviceMonitor": {"enabled": True, "secret": "prometheus-key"}},
        "serviceAccount": {"name": "existing"},
        "service": {"annotations": {"a": "b"}},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "agents", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "podAnnotations": {"a": "b"},
        "podLabels": {"team": "ops"},
        "env": [{"name": "KUBIYA_CA_FILE", "value": "/etc/ca/ca.crt"}],
        "extraArgs": ["--no-audit-allowed"],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
    },
    "everything on SQLite": {
        **SQLITE,
        "replicas": 1,
        "existingSecret": "control-plane-keys",
        "storage": {"size": "50Gi", "className": "fast"},
        "retention": {"keepBytes": "20g"},
        "backup": {"enabled": True, "existingClaim": "backups"},
        "ingress": {"enabled": True, "host": "kubiya.example.org"},
        "networkPolicy": {"enabled": True},
        "metrics": {"serviceMonitor": {"enabled": True}},
        "serviceAccount": {"annotations": {"a": "b"}},
    },
}


def rendered(values: dict[str, Any], chart: Path = WORKER) -> dict[str, str]:
    """Return the texts of a release's files, by their names, that are not empty."""
    return _rendered(json.dumps(values), chart)


@functools.cache  # many tests look at the same few releases
def _rendered(values: str, chart: Path) -> dict[str, str]:
    with helm_python.Chart.load(chart) as loaded:
        files = loaded.render(json.loads(values), name="w", namespace="kubiya")
        return {name: text for name, text in files.items() if text.strip()}


def objects(texts: dict[str, str]) -> list[dict[str, Any]]:
    files = [text for name, text in texts.items() if not name.endswith(".txt")]
    found = [o for text in files for o in yaml.load_all(text, yaml.CSafeLoader)]  # in C: there is much of it
    return [o for o in found if o]


def variables_of(values: dict[str, Any]) -> dict[str, str]:
    """Return the variables, without those of secrets, that the only Deployment's container gets."""
    (deployment,) = (o for o in objects(rendered(values)) if o["kind"] == "Deployment")
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    assert len({e["name"] for e in env}) == len(env)
    return {e["name"]: e["value"] for e in env if "value" in e}


def plain() -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(MANIFESTS.glob("*.yaml"))}


def written(page: Path) -> list[tuple[Path, str, dict[str, Any]]]:
    """Return the values that a page gives to a chart: those of its YAML blocks whose first line says
    `# values of CHART: what`, and those of its `helm` commands, where an upgrade adds to what was before.
    """
    text, found = page.read_text(), []
    for chart, what, block in re.findall(r"```yaml\n# values of ([\w-]+): ([^\n]+)\n(.*?)```", text, re.DOTALL):
        found.append((WORKER.parent / chart, what, yaml.safe_load(block)))
    known: dict[str, dict[str, Any]] = {}
    for command in re.findall(r"^helm (?:[^\\\n]|\\\n)+", text, re.MULTILINE):
        words = shlex.split(command.replace("\\\n", " "))
        assert words[1] in ("install", "upgrade"), command
        release, chart = words[2:4]
        values = known.setdefault(release, {}) if "--reset-then-reuse-values" in words else {}
        for flag, given in itertools.pairwise(words):
            if flag in ("--set", "--set-json"):
                key, _, value = given.partition("=")
                _put(values, key.split("."), json.loads(value) if flag == "--set-json" else yaml.safe_load(value))
        known[release] = values
        if "-f" not in words:  # its values are in a block above
            found.append((ROOT / chart, f"{' '.join(words[:3])} ({len(found)})", json.loads(json.dumps(values))))
    return found


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
    values[path[-1]] = value
