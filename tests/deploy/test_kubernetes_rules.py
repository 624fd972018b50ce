"""The rules of kubernetes_rules.py over all that is in deploy/, and over faults that each of them has to find."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.deploy import kubernetes_rules as rules
from tests.deploy.charts import CONTROL_PLANE, OF_CONTROL_PLANE, OF_WORKER, PAGE, objects, plain, rendered, written
from tests.deploy.kubernetes_rules import Objects

SOURCES: dict[str, Callable[[], dict[str, str]]] = {
    **{f"worker: {name}": partial(rendered, values) for name, values in OF_WORKER.items()},
    **{f"control plane: {name}": partial(rendered, v, CONTROL_PLANE) for name, v in OF_CONTROL_PLANE.items()},
    **{f"deploy.md: {what}": partial(rendered, values, chart) for chart, what, values in written(PAGE)},
    "manifests": plain,
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_no_rule_is_broken(source: Callable[[], dict[str, str]]) -> None:
    assert rules.faults(objects(source())) == {}


def test_the_page_has_values_of_all_kinds() -> None:
    assert sum(name.startswith("deploy.md: ") for name in SOURCES) >= 8
    text = PAGE.read_text()
    blocks = re.findall(r"^```yaml\n(.*)$", text, re.MULTILINE)
    assert [line for line in blocks if not line.startswith("# values of ")] == ["# models.yaml"]


def first(found: Objects, kind: str) -> Any:
    return next(each for each in found if each["kind"] == kind)


def spec(found: Objects, kind: str = "Deployment") -> Any:
    return first(found, kind)["spec"]


def pod(found: Objects) -> Any:
    return rules.template_of(first(found, "Deployment"))["spec"]


def trigger(found: Objects) -> Any:
    return spec(found, "ScaledObject")["triggers"][0]


def without(container: Any, key: str) -> None:
    del container[key]


BROKEN: list[tuple[str, str, Callable[[Objects], Any]]] = [
    ("restricted", "worker: least", lambda o: without(pod(o)["containers"][0]["securityContext"], "capabilities")),
    ("restricted", "worker: least", lambda o: pod(o)["securityContext"].update(runAsUser=0)),
    ("restricted", "worker: least", lambda o: without(pod(o)["securityContext"], "seccompProfile")),
    ("restricted", "worker: least", lambda o: pod(o)["volumes"].append({"name": "h", "hostPath": {"path": "/"}})),
    ("restricted", "worker: least", lambda o: pod(o).update(hostPID=True)),
    # The six faults that a server and KEDA's source showed:
    ("autoscaled_without_replicas", "manifests", lambda o: spec(o).update(replicas=3)),
    ("autoscaled_without_replicas", "worker: versions and keda", lambda o: spec(o).update(replicas=1)),
    ("keda_reads_what_is_there", "worker: keda with mTLS", lambda o: o.remove(first(o, "TriggerAuthentication"))),
    (
        "keda_reads_what_is_there",
        "worker: keda with mTLS",
        lambda o: spec(o, "TriggerAuthentication")["secretTargetRef"].pop(0),
    ),
    (
        "keda_reads_what_is_there",
        "worker: versions and keda",
        lambda o: without(trigger(o)["metadata"], "workerDeploymentBuildId"),
    ),
    (
        "keda_reads_what_is_there",
        "worker: versions and keda",
        lambda o: trigger(o)["metadata"].update(workerDeploymentBuildId="0.1.0"),
    ),
    ("keda_reads_what_is_there", "worker: versions and keda", lambda o: o.remove(first(o, "ScaledObject"))),
    ("keda_reads_what_is_there", "worker: keda", lambda o: trigger(o)["metadata"].update(targetQueSize="1")),
    ("keda_reads_what_is_there", "worker: keda", lambda o: trigger(o)["metadata"].update(targetQueueSize=5)),
    ("keda_reads_what_is_there", "worker: keda", lambda o: trigger(o)["metadata"].update(buildId="1")),
    (
        "one_budget_each",
        "worker: versions",
        lambda o: spec(o, "PodDisruptionBudget")["selector"]["matchLabels"].pop("kubiya.ai/build"),
    ),
    ("one_budget_each", "worker: versions", lambda o: o.remove(first(o, "PodDisruptionBudget"))),
    ("pinned", "manifests", lambda o: pod(o)["containers"][0].update(image="ghcr.io/kubiyabot/agent-worker:latest")),
    ("pinned", "manifests", lambda o: pod(o)["containers"][0].update(image="localhost:5000/agent-worker")),
    # And what else a server accepts:
    (
        "workloads_are_apart",
        "worker: versions",
        lambda o: spec(o)["selector"]["matchLabels"].pop("kubiya.ai/build"),
    ),
    ("services_lead_somewhere", "manifests", lambda o: spec(o, "Service")["ports"][0].update(targetPort="metric")),
    (
        "services_lead_somewhere",
        "manifests",
        lambda o: spec(o, "NetworkPolicy")["ingress"][0]["ports"][0].update(port="metric"),
    ),
    (
        "services_lead_somewhere",
        "control plane: everything on PostgreSQL",
        lambda o: spec(o, "Service")["ports"][0].update(name="https"),
    ),
    (
        "restricted",
        "control plane: everything on SQLite",
        lambda o: rules.template_of(first(o, "CronJob"))["spec"].pop("securityContext"),
    ),
    ("mounts_are_volumes", "worker: least", lambda o: pod(o)["volumes"].pop()),
    ("mounts_are_volumes", "worker: least", lambda o: pod(o)["containers"][0]["env"].append({"name": "QUEUE_ID"})),
    ("pods_are_probed_and_limited", "worker: least", lambda o: without(pod(o)["containers"][0], "readinessProbe")),
    ("pods_are_probed_and_limited", "worker: least", lambda o: without(pod(o)["containers"][0], "resources")),
    ("names_are_names", "worker: least", lambda o: first(o, "Service")["metadata"].update(name="w" * 64)),
    ("names_are_names", "worker: least", lambda o: o.append(copy.deepcopy(o[0]))),
]


@pytest.mark.parametrize(("rule", "source", "damage"), BROKEN)
def test_a_rule_finds_its_fault(rule: str, source: str, damage: Callable[[Objects], Any]) -> None:
    found = objects(SOURCES[source]())
    damage(found)
    assert rules.RULES[rule](found)


def test_every_rule_has_a_fault_to_find() -> None:
    assert {rule for rule, _, _ in BROKEN} == rules.RULES.keys()
