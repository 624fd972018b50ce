"""Rules for objects of Kubernetes, each a function of all objects of one release that returns its faults.

They agree with what an API server of version 1.36 and KEDA's source said of the same objects; a server takes most of
what these rules refuse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

Objects = list[dict[str, Any]]
Rule = Callable[[Objects], list[str]]

WORKLOADS: Final = ("Deployment", "StatefulSet", "Job", "CronJob")
SERVING: Final = ("Deployment", "StatefulSet")
# Of the restricted standard (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
VOLUMES: Final = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"),
}
# What KEDA's temporal scaler reads (2.22); the CRD takes any map of strings, and KEDA ignores what it does not know.
KEDA_TEXTS: Final = {
    *("endpoint", "endpointFromEnv", "apiKeyFromEnv", "namespace", "taskQueue", "tlsServerName"),
    *("workerDeploymentName", "workerDeploymentBuildId", "workflowTaskQueueForCount"),
}
KEDA_NUMBERS: Final = {"targetQueueSize", "activationTargetQueueSize", "minConnectTimeout"}
KEDA_BOOLEANS: Final = {"includeRunningWorkflowCount", "unsafeSsl", "enableTLS"}
KEDA_SECRETS: Final = {"apiKey", "cert", "key", "ca", "keyPassword"}


def named(found: dict[str, Any]) -> str:
    return f"{found['kind']} {found['metadata']['name']}"


def template_of(workload: dict[str, Any]) -> dict[str, Any]:
    spec = workload["spec"]
    if workload["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template: dict[str, Any] = spec["template"]
    return template


def of_kinds(objects: Objects, *kinds: str) -> Objects:
    return [each for each in objects if each["kind"] in kinds]


def pods(objects: Objects) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in of_kinds(objects, *WORKLOADS):
        yield named(each), template_of(each)["spec"]


def containers(objects: Objects) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for name, pod in pods(objects):
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield f"{name}: {container['name']}", pod, container


def selects(selector: dict[str, str], workload: dict[str, Any]) -> bool:
    labels: dict[str, str] = template_of(workload).get("metadata", {}).get("labels", {})
    return selector.items() <= labels.items()


def variables(container: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value") for each in container.get("env", ())}


def restricted(objects: Objects) -> list[str]:
    """Pods meet the restricted Pod Security Standard, and more: no token, a read-only root."""
    faults = []
    for name, pod in pods(objects):
        context = pod.get("securityContext", {})
        for key in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
            faults += [f"{name}: {key}"] if pod.get(key) else []
        faults += [] if context.get("seccompProfile") == {"type": "RuntimeDefault"} else [f"{name}: seccompProfile"]
        faults += [] if context.get("runAsNonRoot") is True else [f"{name}: runAsNonRoot"]
        faults += [] if context.get("runAsUser", 1) != 0 else [f"{name}: runAsUser 0"]
        faults += [] if not context.get("sysctls") else [f"{name}: sysctls"]
        faults += [] if pod.get("automountServiceAccountToken") is False else [f"{name}: a service account's token"]
        for volume in pod.get("volumes", ()):
            faults += [f"{name}: volume {volume}"] if not set(volume) - {"name"} <= VOLUMES else []
    for name, _, container in containers(objects):
        context = container.get("securityContext", {})
        wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        faults += [f"{name}: {key}" for key, value in wanted.items() if context.get(key) != value]
        for key in ("privileged", "procMount", "seLinuxOptions", "appArmorProfile", "windowsOptions"):
            faults += [f"{name}: {key}"] if context.get(key) else []
        faults += [] if context.get("runAsNonRoot", True) and context.get("runAsUser", 1) else [f"{name}: root"]
        for port in container.get("ports", ()):
            faults += [f"{name}: hostPort"] if port.get("hostPort") else []
    return faults


def autoscaled_without_replicas(objects: Objects) -> list[str]:
    """Check that what an autoscaler scales has no number of its own: applied again, it would take pods away."""
    workloads = {each["metadata"]["name"]: each for each in of_kinds(objects, *SERVING)}
    faults = []
    for scaler in of_kinds(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        target = workloads.get(scaler["spec"]["scaleTargetRef"]["name"])
        if target is None:
            faults.append(f"{named(scaler)} scales nothing that is here")
        elif "replicas" in target["spec"]:
            faults.append(f"{named(target)} has replicas, and {named(scaler)} scales it")
    return faults


def one_budget_each(objects: Objects) -> list[str]:
    """Pods of a workload are in one budget, which has no pods of another: an eviction by two budgets is an error."""
    budgets, faults = of_kinds(objects, "PodDisruptionBudget"), []
    workloads = of_kinds(objects, *SERVING)
    for workload in workloads if budgets else []:
        found = [named(b) for b in budgets if selects(b["spec"]["selector"]["matchLabels"], workload)]
        faults += [f"{named(workload)} has the budgets {found}"] if len(found) != 1 else []
    for budget in budgets:
        found = [named(w) for w in workloads if selects(budget["spec"]["selector"]["matchLabels"], w)]
        faults += [f"{named(budget)} is for {found}"] if len(found) != 1 else []
        limits = {"minAvailable", "maxUnavailable"} & budget["spec"].keys()
        faults += [f"{named(budget)} has the limits {sorted(limits)}"] if len(limits) != 1 else []
    return faults


def pinned(objects: Objects) -> list[str]:
    """An image has a version: with `latest` a restart of a pod can bring another one."""
    faults = []
    for name, _, container in containers(objects):
        version = re.search(r"(?:@sha256:[0-9a-f]{64}|:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]*))$", container["image"])
        faults += [f"{name}: image {container['image']}"] if version is None or version["tag"] == "latest" else []
    return faults


def keda_reads_what_is_there(objects: Objects) -> list[str]:
    """Triggers have only fields that KEDA knows, and count the backlog of what they scale."""
    faults = []
    here = {(each["kind"], each["metadata"]["name"]) for each in objects}
    workloads = {each["metadata"]["name"]: each for each in of_kinds(objects, *SERVING)}
    for scaled in of_kinds(objects, "ScaledObject"):
        (trigger,) = scaled["spec"]["triggers"]
        told: dict[str, Any] = trigger["metadata"]
        name = named(scaled)
        for key, value in told.items():
            good = isinstance(value, str) and (
                (key in KEDA_TEXTS and value != "")
                or (key in KEDA_NUMBERS and value.isdecimal())
                or (key in KEDA_BOOLEANS and value in ("true", "false"))
                or (key == "queueTypes" and set(value.split(",")) <= {"workflow", "activity"})
            )
            faults += [] if good else [f"{name}: {key}={value!r}"]
        faults += [f"{name}: no {key}" for key in ("endpoint", "taskQueue") if not told.get(key)]
        target = workloads.get(scaled["spec"]["scaleTargetRef"]["name"])
        if target is not None:
            env = variables(template_of(target)["spec"]["containers"][0])
            version = (env.get("TEMPORAL_DEPLOYMENT_NAME"), env.get("TEMPORAL_WORKER_BUILD_ID"))
            if version[0] is None:
                version = (None, None)
            counted = (told.get("workerDeploymentName"), told.get("workerDeploymentBuildId"))
            faults += [f"{name} counts {counted}, and scales {version}"] if counted != version else []
        if "authenticationRef" in trigger:
            reference = trigger["authenticationRef"]
            kind = reference.get("kind", "TriggerAuthentication")
            known = kind == "ClusterTriggerAuthentication" or (kind, reference["name"]) in here
            faults += [] if known else [f"{name}: there is no {kind} {reference['name']}"]
    for login in of_kinds(objects, "TriggerAuthentication"):
        given = {each["parameter"] for each in login["spec"]["secretTargetRef"]}
        faults += [f"{named(login)}: {sorted(given)}"] if not given or given - KEDA_SECRETS else []
        faults += [f"{named(login)}: cert and key"] if ("cert" in given) != ("key" in given) else []
    if of_kinds(objects, "ScaledObject"):
        scaled_names = [each["spec"]["scaleTargetRef"]["name"] for each in of_kinds(objects, "ScaledObject")]
        faults += [f"{name} has no ScaledObject" for name in workloads if scaled_names.count(name) != 1]
    return faults


def workloads_are_apart(objects: Objects) -> list[str]:
    """No workload selects pods of another one, and each selects its own."""
    faults = []
    for one in of_kinds(objects, *SERVING):
        selector = one["spec"]["selector"]["matchLabels"]
        faults += [] if selects(selector, one) else [f"{named(one)} does not select its pods"]
        others = [other for other in of_kinds(objects, *WORKLOADS) if other is not one]
        faults += [f"{named(one)} selects pods of {named(other)}" for other in others if selects(selector, other)]
    return faults


def services_lead_somewhere(objects: Objects) -> list[str]:
    """A service, a policy and an ingress name pods, ports and services that are there."""
    faults = []
    workloads = of_kinds(objects, *SERVING)
    services = {each["metadata"]["name"]: each for each in of_kinds(objects, "Service")}

    def ports_of(selector: dict[str, str]) -> set[str]:
        chosen = [w for w in workloads if selects(selector, w)]
        return {p["name"] for w in chosen for c in template_of(w)["spec"]["containers"] for p in c.get("ports", ())}

    for service in services.values():
        known = ports_of(service["spec"]["selector"])
        for port in service["spec"]["ports"]:
            faults += [] if port["targetPort"] in known else [f"{named(service)}: port {port['targetPort']}"]
    for policy in of_kinds(objects, "NetworkPolicy"):
        known = ports_of(policy["spec"]["podSelector"]["matchLabels"])
        for each in policy["spec"].get("ingress", ()):
            for port in each.get("ports", ()):
                if isinstance(port["port"], str) and port["port"] not in known:
                    faults.append(f"{named(policy)}: port {port['port']}")
    for ingress in of_kinds(objects, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                known = {p["name"] for p in services.get(backend["name"], {"spec": {"ports": []}})["spec"]["ports"]}
                faults += [] if backend["port"]["name"] in known else [f"{named(ingress)}: {backend}"]
    for each in of_kinds(objects, "StatefulSet"):
        faults += [] if each["spec"]["serviceName"] in services else [f"{named(each)}: {each['spec']['serviceName']}"]
    return faults


def mounts_are_volumes(objects: Objects) -> list[str]:
    faults = []
    claimed = {
        (named(each), claim["metadata"]["name"])
        for each in of_kinds(objects, "StatefulSet")
        for claim in each["spec"].get("volumeClaimTemplates", ())
    }
    for name, pod, container in containers(objects):
        volumes = [volume["name"] for volume in pod.get("volumes", ())]
        volumes += [claim for owner, claim in claimed if name.startswith(f"{owner}:")]
        mounted = [mount["mountPath"] for mount in container.get("volumeMounts", ())]
        faults += [f"{name}: two volumes have one name"] if len(set(volumes)) != len(volumes) else []
        faults += [f"{name}: two mounts have one path"] if len(set(mounted)) != len(mounted) else []
        for mount in container.get("volumeMounts", ()):
            faults += [] if mount["name"] in volumes else [f"{name}: no volume {mount['name']}"]
        given = [each["name"] for each in container.get("env", ())]
        faults += [f"{name}: a variable is given twice"] if len(set(given)) != len(given) else []
    return faults


def pods_are_probed_and_limited(objects: Objects) -> list[str]:
    faults = []
    for each in of_kinds(objects, *SERVING):
        for container in template_of(each)["spec"]["containers"]:
            probes = ("livenessProbe", "readinessProbe")
            faults += [f"{named(each)}: no {probe}" for probe in probes if probe not in container]
    for name, _, container in containers(objects):
        resources = container.get("resources", {})
        wanted = (("requests", "cpu"), ("requests", "memory"), ("limits", "memory"))
        faults += [f"{name}: no {part}.{key}" for part, key in wanted if not resources.get(part, {}).get(key)]
    return faults


def names_are_names(objects: Objects) -> list[str]:
    seen, faults = set(), []
    for each in objects:
        name, key = each["metadata"]["name"], (each["kind"], each["metadata"]["name"])
        faults += [] if re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name) else [f"{named(each)}: its name"]
        faults += [f"{named(each)} is there twice"] if key in seen else []
        seen.add(key)
    return faults


RULES: Final[dict[str, Rule]] = {
    rule.__name__: rule
    for rule in (
        restricted,
        autoscaled_without_replicas,
        one_budget_each,
        pinned,
        keda_reads_what_is_there,
        workloads_are_apart,
        services_lead_somewhere,
        mounts_are_volumes,
        pods_are_probed_and_limited,
        names_are_names,
    )
}


def faults(objects: Objects) -> dict[str, list[str]]:
    """Return what each rule finds, of those that find something."""
    found = {name: rule([each for each in objects if "metadata" in each]) for name, rule in RULES.items()}
    return {name: what for name, what in found.items() if what}
