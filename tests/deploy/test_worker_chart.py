"""The worker's chart: what its values make of it, and which it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.settings import Settings, resolve
from kubiya_worker.settings.table import OPTIONS
from tests.deploy.charts import (
    BASE,
    CHARTS,
    KEDA,
    OF_WORKER,
    helm_python,
    objects,
    plain,
    rendered,
    variables_of,
)

ALL = [pytest.param(lambda v=values: rendered(v), id=name) for name, values in OF_WORKER.items()]
ALL.append(pytest.param(plain, id="manifests"))


def _keda(**login: str) -> dict[str, Any]:
    return {**BASE, "keda": {**KEDA, "authentication": login}}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"existingSecret": "s"}, "queueId is required"),
        ({"queueId": "q"}, "an API key is required"),
        ({**OF_WORKER["keda"], "autoscaling": {"enabled": True}}, "exclude each other"),
        ({**BASE, "keda": {"enabled": True}}, "keda needs keda.temporalAddress"),
        ({**BASE, "previousVersions": [{"tag": "1"}]}, "previousVersions needs deploymentName"),
        ({**BASE, "deploymentName": "ops", "buildId": "1", "previousVersions": [{"tag": "1"}]}, "the current version"),
        ({**BASE, "deploymentName": "ops", "previousVersions": [{"replicas": 1}]}, "needs a tag"),
        (
            {**BASE, "deploymentName": "ops", "buildId": "1.0", "previousVersions": [{"tag": "1-0"}]},
            "the name of another version's",
        ),
        ({**BASE, "previousVersions": [{"tag": "1", "replica": 2}]}, "replica"),
        (_keda(existing="a", secret="b", apiKey="k"), "exclude each other"),
        (_keda(secret="b"), "needs apiKey, or cert and key"),
        (_keda(apiKey="k"), "are keys of keda.authentication.secret"),
        (_keda(secret="b", cert="tls.crt"), "both cert and key"),
        (_keda(secret="b", apiKey="k", ca="ca.crt"), "only together with cert and key"),
        (_keda(existing="a", kind="Secret"), "kind"),
        ({**BASE, "keda": {**KEDA, "targetQueSize": 1}}, "targetQueSize"),
        ({**BASE, "resources": {"request": {"cpu": 1}}}, "request"),
        ({**BASE, "tolerations": [{"kee": "agents"}]}, "kee"),
        ({**BASE, "env": [{"name": "A", "valeu": "b"}]}, "valeu"),
        ({**BASE, "extraVolumes": [{"name": "ca"}]}, "extraVolumes"),
        ({**BASE, "extraVolumeMounts": [{"name": "ca", "path": "/ca"}]}, "path"),
        ({**BASE, "podDisruptionBudget": {"minAvailable": "half"}}, "minAvailable"),
        ({**BASE, "logFromat": "json"}, "logFromat"),
        ({**BASE, "metrics": {"prot": 1}}, "prot"),
        ({**BASE, "logFormat": "xml"}, "logFormat"),
        ({**BASE, "maxConcurrentActivities": 100_000}, "maxConcurrentActivities"),
        ({**BASE, "gracePeriod": "5m"}, "gracePeriod"),  # of which the pod's own is reckoned
        ({**BASE, "replicaCount": "3"}, "replicaCount"),
    ],
)
def test_values_that_cannot_work_are_refused_with_a_reason(values: dict[str, Any], said: str) -> None:
    with pytest.raises(helm_python.HelmError, match=said):
        rendered(values)


@pytest.mark.parametrize("source", ALL)
def test_a_pod_has_more_time_to_end_than_its_worker_takes(source: Any) -> None:
    pods = [o["spec"]["template"]["spec"] for o in objects(source()) if o["kind"] == "Deployment"]
    assert pods
    for pod in pods:
        env = {e["name"]: e.get("value") for e in pod["containers"][0]["env"]}
        assert pod["terminationGracePeriodSeconds"] >= float(env["KUBIYA_GRACE_PERIOD"]) + 10


@pytest.mark.parametrize("source", ALL)
def test_a_pod_that_reaches_the_cap_of_its_spool_is_not_evicted(source: Any) -> None:
    """Kubernetes evicts a pod whose emptyDir is past its limit; the worker keeps to its own cap, which is below it."""
    for deployment in (each for each in objects(source()) if each["kind"] == "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        told = {each["name"]: each.get("value") for each in container["env"]}
        cap = int(told.get("KUBIYA_SPOOL_MAX_BYTES") or Settings("q", "k").spool_max_bytes)
        volumes = {each["name"]: each for each in pod["volumes"]}
        mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        assert ("spool" in volumes) == ("spool" in mounts) == ("KUBIYA_SPOOL" in told) == (cap > 0)
        if cap and "emptyDir" in volumes["spool"]:
            assert told["KUBIYA_SPOOL"] == mounts["spool"]
            limit = volumes["spool"]["emptyDir"]["sizeLimit"]
            assert limit.endswith("Mi") and 1.2 * cap < int(limit[:-2]) * 2**20 < 4 * cap + 2**25, (limit, cap)


@pytest.mark.parametrize("source", ALL)
def test_no_key_is_in_a_pod(source: Any) -> None:
    assert "kby_test" not in json.dumps([o for o in objects(source()) if o["kind"] in ("Deployment", "Job")])


def test_each_version_has_a_deployment_of_its_own_and_the_new_one_becomes_current() -> None:
    found = objects(rendered(OF_WORKER["versions"]))
    deployments = {o["metadata"]["name"]: o["spec"] for o in found if o["kind"] == "Deployment"}
    facts = {}
    for name, spec in deployments.items():
        (container,) = spec["template"]["spec"]["containers"]
        env = {e["name"]: e.get("value") for e in container["env"]}
        assert env["TEMPORAL_DEPLOYMENT_NAME"] == "ops"
        facts[name] = (container["image"].rpartition(":")[2], env["TEMPORAL_WORKER_BUILD_ID"], spec.get("replicas"))
    assert facts == {
        "w-kubiya-worker-0-2-0": ("0.2.0", "0.2.0", 3),
        "w-kubiya-worker-0-1-0": ("0.1.0", "0.1.0", 1),
        "w-kubiya-worker-b-7": ("0.1.0", "b+7", 2),
    }
    (job,) = (o for o in found if o["kind"] == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"][:5] == ["kubiya", "worker", "deployment", "set-current", "0.2.0"]
    assert "post-upgrade" in job["metadata"]["annotations"]["helm.sh/hook"]
    off = objects(rendered({**OF_WORKER["versions"], "setCurrent": False}))
    assert "Job" not in {o["kind"] for o in off}


def test_each_version_is_scaled_by_its_own_backlog() -> None:
    found = objects(rendered(OF_WORKER["versions and keda"]))
    facts = {}
    for each in (o["spec"] for o in found if o["kind"] == "ScaledObject"):
        (trigger,) = each["triggers"]
        told = trigger["metadata"]
        version = (told["workerDeploymentName"], told["workerDeploymentBuildId"])
        facts[each["scaleTargetRef"]["name"]] = (*version, each["minReplicaCount"], trigger["authenticationRef"])
    login = {"name": "w-kubiya-worker", "kind": "TriggerAuthentication"}
    assert facts == {
        "w-kubiya-worker-0-2-0": ("ops", "0.2.0", 1, login),
        "w-kubiya-worker-0-1-0": ("ops", "0.1.0", 1, login),
        "w-kubiya-worker-b-7": ("ops", "b+7", 2, login),
    }


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("keda with an API key", {"apiKey": "api-key"}),
        ("keda with mTLS", {"cert": "tls.crt", "key": "tls.key", "ca": "ca.crt", "keyPassword": "password"}),
    ],
)
def test_keda_logs_in_with_a_secret(name: str, parameters: dict[str, str]) -> None:
    found = objects(rendered(OF_WORKER[name]))
    (login,) = (o["spec"]["secretTargetRef"] for o in found if o["kind"] == "TriggerAuthentication")
    assert {each["parameter"]: each["key"] for each in login} == parameters
    assert {each["name"] for each in login} == {"temporal"}


def test_keda_logs_in_with_what_somebody_has_made() -> None:
    found = objects(rendered(OF_WORKER["keda with somebody's login"]))
    (scaled,) = (o["spec"]["triggers"][0] for o in found if o["kind"] == "ScaledObject")
    assert scaled["authenticationRef"] == {"name": "theirs", "kind": "ClusterTriggerAuthentication"}
    assert "TriggerAuthentication" not in {o["kind"] for o in found}


def test_a_value_reaches_the_worker_as_it_was_given() -> None:
    variables = variables_of(OF_WORKER["settings"])
    assert {name: variables[name] for name in ("KUBIYA_LOG_FORMAT", "KUBIYA_DEBUG", "TEMPORAL_TLS_CA")} == {
        "KUBIYA_LOG_FORMAT": "json",
        "KUBIYA_DEBUG": "false",
        "TEMPORAL_TLS_CA": "/etc/temporal/ca.pem",
    }
    assert variables["KUBIYA_PAYLOAD_STORAGE_FROM"] == "2000000"  # not 2e+06
    assert variables["KUBIYA_EXTENSIONS"] == '/ext/a.py, "b & c.py"'
    settings = resolve({}, {**variables, "KUBIYA_API_KEY": "k"}, "/dev/null")
    assert (settings.model_idle_timeout, settings.grace_period) == (300.0, 45.0)


def test_keys_of_the_secret_that_may_be_missing_are_marked_so() -> None:
    (deployment,) = (o for o in objects(rendered(BASE)) if o["kind"] == "Deployment")
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    keys = {e["name"]: e["valueFrom"]["secretKeyRef"] for e in env if "secretKeyRef" in e.get("valueFrom", {})}
    assert keys["KUBIYA_API_KEY"] == {"name": "kubiya-secrets", "key": "api-key"}
    assert set(keys) == {o.env[0] for o in OPTIONS if o.secret}
    assert all(key.get("optional") for name, key in keys.items() if name != "KUBIYA_API_KEY")


# What Kubernetes itself judges, or a chart above this one fills: everything else is closed.
OPEN = ("global", "valueFrom", "claims", "Affinity", "spoolVolume", "extraVolumes", "to", "from", "ports")


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_every_object_of_the_values_is_closed(chart: Path) -> None:
    def open_ones(schema: Any, path: tuple[str, ...] = ()) -> list[str]:
        if isinstance(schema, list):
            return [found for each in schema for found in open_ones(each, path)]
        if not isinstance(schema, dict):
            return []
        found = []
        kind = schema.get("type")
        if kind == "object" and schema.get("additionalProperties", True) not in (False,):
            more = schema.get("additionalProperties", True)
            typed = isinstance(more, dict) and more.get("type") != "object"
            found += [] if typed or any(part.endswith(OPEN) for part in path) else [".".join(path)]
        if kind == "array" and "items" not in schema:
            found.append(".".join(path))
        for name, each in schema.get("properties", {}).items():
            found += open_ones(each, (*path, name))
        for key in ("items", "anyOf"):
            found += open_ones(schema.get(key), path)
        return found

    schema = json.loads((chart / "values.schema.json").read_text())
    assert open_ones(schema) == []
    assert open_ones({"type": "object", "properties": {"image": {"type": "object"}, "list": {"type": "array"}}})
