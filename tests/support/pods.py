"""Pods without a cluster: what a chart says of a pod, done by a process as a kubelet would do it.

The command line, its variables, secrets as files, the probes' calls, preStop, SIGTERM and the grace period are those of
the rendered pod. Its mounts are folders, its port is a free one, and its user and root file system are this host's.
"""

from __future__ import annotations

import re
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import requests

from tests.support.stack import BIN, Process, free_port, wait_until

Secrets = dict[str, dict[str, str]]


class Pod:
    def __init__(self, name: str, template: dict[str, Any], folder: Path, secrets: Secrets, **env: str) -> None:
        """`env` adds to the pod's variables, or replaces them."""
        self.name, self.folder, self.port = name, folder, free_port()
        self.spec: dict[str, Any] = template["spec"]
        (self.container,) = self.spec["containers"]
        self.grace = float(self.spec["terminationGracePeriodSeconds"])
        self._secrets = secrets
        self._ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        self._mounts = {mount["mountPath"]: self._mounted(mount["name"]) for mount in self.container["volumeMounts"]}
        self.env = {**self._variables(), "HOME": str(folder), **env}
        words = [self._here(word) for word in (*self.container["command"], *self.container["args"])]
        words = [re.sub(r"\$\((\w+)\)", lambda found: self.env[found[1]], word) for word in words]
        self.process = Process([str(BIN / words[0]), *words[1:]], self.env, folder)

    def _mounted(self, volume: str) -> Path:
        """Return the folder of a volume, with a secret's keys as files that only the pod's user reads."""
        path = self.folder / self.name / volume
        path.mkdir(parents=True)
        (found,) = (each for each in self.spec["volumes"] if each["name"] == volume)
        for key, text in self._secrets[found["secret"]["secretName"]].items() if "secret" in found else ():
            (path / key).write_text(text)
            (path / key).chmod(0o400)
        return path

    def _variables(self) -> dict[str, str]:
        found = {}
        for variable in self.container["env"]:
            source = variable.get("valueFrom", {})
            if "value" in variable:
                found[variable["name"]] = self._here(variable["value"])
            elif "fieldRef" in source:
                found[variable["name"]] = self.name
            elif (wanted := source["secretKeyRef"])["key"] in self._secrets[wanted["name"]]:
                found[variable["name"]] = self._secrets[wanted["name"]][wanted["key"]]
            else:
                assert wanted.get("optional"), wanted
        return found

    def _here(self, text: str) -> str:
        """Return a text of the pod with this host's paths and port in place of the pod's."""
        for inside, path in self._mounts.items():
            text = re.sub(rf"(?<![\w/]){re.escape(inside)}(?=/|$)", str(path), text)
        for number in self._ports.values():
            text = re.sub(rf"--port={number}$", f"--port={self.port}", text)
        return text

    def path(self, inside: str) -> Path:
        return Path(self._here(inside))

    def passes(self, kind: str) -> bool:
        """Make the call of a probe, such as `readinessProbe`."""
        probe = self.container[kind]
        limit = probe.get("timeoutSeconds", 1) + 5  # this host may be busier than a node
        if "httpGet" in probe:
            assert probe["httpGet"]["port"] in self._ports
            try:
                answer = requests.get(f"http://127.0.0.1:{self.port}{probe['httpGet']['path']}", timeout=limit)
            except requests.RequestException:
                return False
            return 200 <= answer.status_code < 400
        argv = [self._here(word) for word in probe["exec"]["command"]]
        return subprocess.run(argv, capture_output=True, timeout=limit).returncode == 0

    def become_ready(self) -> None:
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            if kind in self.container:
                wait_until(partial(self._runs_and_passes, kind), 90, f"{self.name} passes its {kind}")

    def _runs_and_passes(self, kind: str) -> bool:
        assert self.process.popen.poll() is None, "\n".join(self.process.lines[-20:])
        return self.passes(kind)

    def stop(self) -> float:
        """End the pod: preStop and SIGTERM. Return the seconds that it took, of those that it has at most."""
        began = time.monotonic()
        if "lifecycle" in self.container:
            subprocess.run(self.container["lifecycle"]["preStop"]["exec"]["command"], check=True, timeout=self.grace)
        self.process.popen.terminate()
        code = self.process.wait(self.grace - (time.monotonic() - began))
        assert code == 0, (code, self.process.lines[-20:])
        return time.monotonic() - began
