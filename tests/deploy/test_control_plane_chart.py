"""The control plane's chart: what its values make of it, which it refuses, and that the server takes what it gets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kubiya_worker.server import oidc, temporal_access
from kubiya_worker.server.command_line import parse
from kubiya_worker.server.store.address import PostgresAddress
from tests.deploy import kubernetes_rules as rules
from tests.deploy.charts import CONTROL_PLANE, OF_CONTROL_PLANE, POSTGRESQL, SQLITE, helm_python, objects, rendered


def released(values: dict[str, Any]) -> list[dict[str, Any]]:
    return objects(rendered(values, CONTROL_PLANE))


def server_of(found: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the workload, its pod and its container."""
    (workload,) = rules.of_kinds(found, *rules.SERVING)
    pod = rules.template_of(workload)["spec"]
    (container,) = pod["containers"]
    return workload, pod, container


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"image": {"repository": "r"}}, "temporal.address is required"),
        ({"temporal": {"address": "t:7233"}}, "image.repository is required"),
        ({**POSTGRESQL, "existingSecret": ""}, "all pods share its api-key and secrets-key"),
        ({**SQLITE, "replicas": 2}, "several pods need PostgreSQL"),
        ({**POSTGRESQL, "retention": {"keepBytes": "2g"}}, "keepBytes is for SQLite"),
        ({**POSTGRESQL, "backup": {"enabled": True, "existingClaim": "c"}}, "pg_dump"),
        ({**SQLITE, "backup": {"enabled": True}}, "backup.existingClaim"),
        ({**SQLITE, "files": {"existingClaim": "c"}}, "files.existingClaim is for PostgreSQL"),
        ({**SQLITE, "temporal": {"address": "t:7233", "tls": {"secret": "s", "cert": "tls.crt"}}}, "both cert and key"),
        ({**SQLITE, "temporal": {"address": "t:7233", "tls": {"ca": "ca.crt"}}}, "keys of temporal.tls.secret"),
        ({**SQLITE, "temporal": {"address": "t:7233", "tls": {"secret": "s"}}}, "needs ca, or cert and key"),
        ({**SQLITE, "temporal": {"address": "t:7233", "workerApiKey": "w"}}, "temporal.apiKeySecret"),
        ({**SQLITE, "oidc": {"issuer": "https://id.example.org"}}, "oidc.clientId and oidc.roles"),
        ({**SQLITE, "ingress": {"enabled": True}}, "ingress.host"),
        ({**SQLITE, "metrics": {"serviceMonitor": {"enabled": True}}}, "metrics.serviceMonitor.secret"),
        ({**SQLITE, "replicaCount": 2}, "replicaCount"),
        ({**SQLITE, "database": {"existingSecert": "x"}}, "existingSecert"),
        ({**SQLITE, "temporal": {"address": "t:7233", "tls": {"enabled": "on"}}}, "enabled"),
    ],
)
def test_values_that_cannot_work_are_refused_with_a_reason(values: dict[str, Any], said: str) -> None:
    with pytest.raises(helm_python.HelmError, match=said):
        released(values)


@pytest.mark.parametrize("name", OF_CONTROL_PLANE)
def test_the_server_takes_the_command_line_and_the_variables(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of secrets are where the pod would mount them, below another root."""
    _, pod, container = server_of(released(OF_CONTROL_PLANE[name]))
    assert container["command"] == ["kubiya", "server", "start"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    for volume in pod["volumes"]:
        if "secret" in volume:
            (tmp_path / mounts[volume["name"]].lstrip("/")).mkdir(parents=True)
    contents = {"url": "postgresql://kubiya:secret@db.example.org/kubiya", "api-key": "k", "secrets-key": "s"}
    for variable in container.get("env", ()):
        value = variable.get("value", "from a secret")
        if str(value).startswith("/etc/kubiya/"):
            value = str(tmp_path) + value
            assert Path(value).parent.is_dir(), f"{variable['name']} is in no mounted secret"
            Path(value).write_text(contents.get(Path(value).name, "x"))
        monkeypatch.setenv(variable["name"], value)
    for file in ("api-key", "secrets-key") if "keys" in mounts else ():
        (tmp_path / "etc/kubiya/keys" / file).write_text(contents[file])
    options = parse([word.replace("=/etc/", f"={tmp_path}/etc/") for word in container["args"]])
    assert (options.host, options.port) == ("0.0.0.0", 7777)
    assert isinstance(options.database, PostgresAddress) == ("database" in OF_CONTROL_PLANE[name])
    if not isinstance(options.database, PostgresAddress):
        assert str(options.database).startswith(mounts["data"])
    monkeypatch.setattr(temporal_access.TemporalAccess, "tls", lambda self: None)  # its files are no certificates here
    access = temporal_access.of_environment(
        os.environ, options.temporal_address, options.temporal_namespace, options.worker_temporal_address, str
    )
    tls = OF_CONTROL_PLANE[name]["temporal"].get("tls", {})
    assert access.options.wanted == tls.get("enabled")
    for told, given in ((access.options.ca, "ca"), (access.options.cert, "cert"), (access.options.key, "key")):
        assert (told is None) == (given not in tls) and (told is None or told.endswith(f"/{tls[given]}"))
    provider = oidc.settings(os.environ, "")
    assert (provider is not None) == ("oidc" in OF_CONTROL_PLANE[name])


def test_sqlite_has_one_pod_with_a_volume_and_postgresql_has_many_without() -> None:
    workload, _, container = server_of(released(SQLITE))
    assert (workload["kind"], workload["spec"]["replicas"]) == ("StatefulSet", 1)
    (claim,) = workload["spec"]["volumeClaimTemplates"]
    assert {"name": claim["metadata"]["name"], "mountPath": "/app/data"} in container["volumeMounts"]
    workload, pod, _ = server_of(released(POSTGRESQL))
    assert (workload["kind"], workload["spec"]["replicas"]) == ("Deployment", 2)
    assert {"name": "data", "emptyDir": {}} in pod["volumes"]
    assert workload["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


@pytest.mark.parametrize("name", OF_CONTROL_PLANE)
def test_secrets_are_read_only_files_that_only_the_pods_group_can_read(name: str) -> None:
    """The control plane refuses a key that is open to others, and takes one of root's that its group may read."""
    for _, pod in rules.pods(released(OF_CONTROL_PLANE[name])):
        secret = {volume["name"]: volume["secret"] for volume in pod["volumes"] if "secret" in volume}
        assert {each.get("defaultMode") for each in secret.values()} <= {0o440}
        mounts = [m for c in pod["containers"] for m in c["volumeMounts"] if m["name"] in secret]
        assert all(mount["readOnly"] for mount in mounts)


@pytest.mark.parametrize("name", OF_CONTROL_PLANE)
def test_a_pod_answers_until_balancers_know_and_has_time_to_end(name: str) -> None:
    _, pod, container = server_of(released(OF_CONTROL_PLANE[name]))
    (_, seconds) = container["lifecycle"]["preStop"]["exec"]["command"]
    readiness, liveness = container["readinessProbe"], container["livenessProbe"]
    assert int(seconds) + 20 <= pod["terminationGracePeriodSeconds"]
    assert liveness["failureThreshold"] * liveness["periodSeconds"] >= 60, "a busy server is not killed"
    assert readiness["httpGet"] == liveness["httpGet"] == {"path": "/health", "port": "http"}


def test_streams_pass_the_one_ingress_and_no_client_is_tied_to_a_pod() -> None:
    for name in ("everything on PostgreSQL", "everything on SQLite"):
        (ingress,) = rules.of_kinds(released(OF_CONTROL_PLANE[name]), "Ingress")
        assert [path["path"] for path in ingress["spec"]["rules"][0]["http"]["paths"]] == ["/"]
        told = {key.rpartition("/")[2]: value for key, value in ingress["metadata"]["annotations"].items()}
        assert told["proxy-buffering"] == "off" and told["proxy-body-size"] == "8m"
        assert int(told["proxy-read-timeout"]) > 270, "a stream lasts so many seconds"
        assert not [key for key in told if "hash" in key or "affinity" in key]


def test_the_backup_runs_beside_the_server_on_its_volume() -> None:
    found = released(OF_CONTROL_PLANE["everything on SQLite"])
    workload, _, _ = server_of(found)
    (job,) = rules.of_kinds(found, "CronJob")
    pod = rules.template_of(job)["spec"]
    (term,) = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert rules.selects(term["labelSelector"]["matchLabels"], workload)
    claims = {volume["name"]: volume.get("persistentVolumeClaim") for volume in pod["volumes"]}
    assert claims["data"] == {"claimName": f"data-{workload['metadata']['name']}-0"}


def test_the_backups_own_command_makes_a_copy_and_removes_old_ones(tmp_path: Path) -> None:
    (job,) = rules.of_kinds(released(OF_CONTROL_PLANE["everything on SQLite"]), "CronJob")
    (container,) = rules.template_of(job)["spec"]["containers"]
    (script,) = container["args"]
    data, copies = tmp_path / "data", tmp_path / "backup"
    data.mkdir()
    copies.mkdir()
    made = [sys.executable, "-m", "kubiya_worker.server", "create-key", "--database", str(data / "control-plane.db")]
    subprocess.run([*made, "--key-file", str(data / "key")], check=True, capture_output=True, timeout=120)
    old, other = copies / "control-plane-20200101T000000Z.db", copies / "somebody's.db"
    for path in (old, other):
        path.write_text("")
        os.utime(path, (time.time() - 20 * 86400,) * 2)
    script = script.replace("/app/data/", f"{data}/").replace("/backup", str(copies))
    kubiya = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    argv = [*container["command"], script]
    run = subprocess.run(argv, env={"PATH": kubiya, "HOME": str(tmp_path)}, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert not old.exists() and other.exists()
    (copy,) = copies.glob("control-plane-*.db")
    assert copy.stat().st_size > 10_000 and copy.stat().st_mode & 0o777 == 0o600


def test_no_secret_is_in_a_pods_command_line_or_variables() -> None:
    for values in OF_CONTROL_PLANE.values():
        for _, _, container in rules.containers(released(values)):
            told = json.dumps([container.get("args"), container.get("env")])
            assert "postgresql://" not in told and "kby_" not in told
