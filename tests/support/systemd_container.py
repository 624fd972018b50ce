"""A machine with a booted systemd: a container of a Docker engine, on the host's network.

with Machine(address, image) as machine:
    machine.run("systemctl", "is-system-running")
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import pytest

from tests.deploy import engine
from tests.support.stack import wait_until

KUBIYA = "/opt/kubiya/bin/kubiya"
BASE = "kubiya-test-systemd"
PACKAGES = ("systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "libnss-systemd")
NAME = "kubiya-test-machine"
# systemd wants to be PID 1 of what it may mount in, and its part of the host's tree of control groups.
BOOT = "mount --make-rshared / && exec /lib/systemd/systemd"
PRIVILEGES = ("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined")
GROUPS = ("--cgroupns", "host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw")
MOUNTS = ("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp")


class Machine:
    """Skips the test where no systemd boots."""

    def __init__(self, address: str, image: str) -> None:
        self.address, self.image = address, image
        self.since = 0.0  # from when on the journal is read

    def __enter__(self) -> Machine:
        options = ["--name", NAME, "--network", "host", "--user", "0", "--entrypoint", "sh", "-e", "container=docker"]
        argv = ["run", "-d", *options, *PRIVILEGES, *GROUPS, *MOUNTS, self.image, "-c", BOOT]
        done = engine.docker(self.address, *argv, check=False)
        if done.returncode:
            pytest.skip(f"no systemd can run here: {done.stderr.strip()[-300:]}")
        try:
            wait_until(lambda: self._booted() in ("running", "degraded", ""), 60, "systemd has booted")
            if not self._booted():
                pytest.skip(f"no systemd can run here: {engine.docker(self.address, 'logs', NAME).stdout[-300:]}")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        engine.docker(self.address, "rm", "-fv", NAME, check=False)

    def _booted(self) -> str:
        """Return the state that systemd reports; empty when it has ended."""
        if engine.docker(self.address, "inspect", "-f", "{{.State.Running}}", NAME).stdout.strip() != "true":
            return ""
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() or "starting"

    def run(
        self,
        *argv: str,
        check: bool = True,
        user: str = "root",
        timeout: float = 120,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """A command there, with these variables and no others."""
        variables = [
            f"{name}={value}" for name, value in {"PATH": "/usr/bin:/usr/sbin", "HOME": "/root", **(env or {})}.items()
        ]
        command = ["exec", "--user", user, "--workdir", "/", NAME, "env", "-i", *variables, *argv]
        done = engine.docker(self.address, *command, check=False, timeout=timeout)
        assert not check or done.returncode == 0, (argv, done.returncode, done.stdout, done.stderr)
        return done

    def sh(self, script: str, *, check: bool = True) -> str:
        return self.run("bash", "-c", script, check=check).stdout

    def write(self, path: str, text: str) -> None:
        self.run("bash", "-c", 'mkdir -p "${0%/*}" && printf %s "$1" >"$0"', path, text)

    def copy(self, file: Path, folder: str) -> None:
        """Copy a file of this host into a folder there."""
        engine.docker(self.address, "cp", str(file), f"{NAME}:{folder}/")

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", "-P", name, unit).stdout.strip()

    def journal(self, unit: str) -> str:
        return self.run("journalctl", "--no-pager", "-o", "cat", "--since", f"@{self.since:.6f}", "-u", unit).stdout
