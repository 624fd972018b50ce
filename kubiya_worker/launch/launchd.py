"""A worker as an agent of launchd (macOS): the plist's text, and installing and removing it.

launchd has no readiness, and no exit codes after which it does not try again: a program that ends with another code
than 0 is started again after THROTTLE seconds. The worker's files and log are in its folder below `~/.kubiya/services`.
"""

from __future__ import annotations

import os
import plistlib
import subprocess
from pathlib import Path
from typing import Final

from kubiya_worker.errors import ConfigurationError, Unavailable, UsageError
from kubiya_worker.launch import service, service_files
from kubiya_worker.launch.service import Say, Service

LABEL: Final = "ai.kubiya.worker"
THROTTLE: Final = 60  # seconds between two starts
WITHIN: Final = 30.0  # seconds for launchctl


def label_of(queue: str, instance: int) -> str:
    return f"{LABEL}.{queue}" + ("" if instance == 1 else f"@{instance}")


def plist(service_definition: Service, folder: Path) -> bytes:
    """Return the agent's definition, which holds no secrets; they are in `folder`. Pure."""
    secrets_folder = folder / "secrets"
    environment = {
        **service_definition.environment,
        **service_definition.files,
        **{f"{name}_FILE": str(secrets_folder / service.credential_of(name)) for name in service_definition.secrets},
        "KUBIYA_WORKSPACE": str(folder / "workspaces"),
        "KUBIYA_SPOOL": str(folder / "spool"),
        "KUBIYA_ALIVE_FILE": str(folder / "alive"),
        "KUBIYA_READY_FILE": str(folder / "ready"),
        "PYTHONFAULTHANDLER": "1",
        "PYTHONUNBUFFERED": "1",
    }
    log = str(folder / "worker.log")
    definition = {
        "Label": label_of(service_definition.queue, service_definition.instance),
        "ProgramArguments": list(service_definition.argv),
        "EnvironmentVariables": environment,
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": THROTTLE,
        "ExitTimeOut": int(-(-service_definition.stop_within // 1)),
        "ProcessType": "Background",
        "Umask": 0o077,
        "WorkingDirectory": str(folder),
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    return plistlib.dumps(definition)


def plist_file(queue: str, instance: int) -> Path:
    return Path("~/Library/LaunchAgents").expanduser() / f"{label_of(queue, instance)}.plist"


def folder_of(queue: str, instance: int) -> Path:
    return Path("~/.kubiya/services").expanduser() / service.name_of(queue, instance)


def install(service_definition: Service, say: Say) -> None:
    """Write and start the agent."""
    if service_definition.system:
        raise UsageError("There are no system services of macOS here", remedy="Leave out --system")
    path, folder = (
        plist_file(service_definition.queue, service_definition.instance),
        folder_of(service_definition.queue, service_definition.instance),
    )
    refuse_foreign(path)
    service_files.make(folder, 0o700)
    folder.chmod(0o700)
    service_files.write_secrets(folder / "secrets", service_definition.secrets)
    service_files.make(path.parent)
    _launchctl(
        "bootout", f"{_domain()}/{label_of(service_definition.queue, service_definition.instance)}", may_fail=True
    )
    service_files.write(path, plist(service_definition, folder).decode(), 0o644)
    _launchctl("bootstrap", _domain(), str(path))
    say(f"wrote and started {path}; its log is {folder / 'worker.log'}")


def uninstall(queue: str, instance: int, say: Say) -> None:
    path, secrets_folder = plist_file(queue, instance), folder_of(queue, instance) / "secrets"
    if not path.exists():
        raise ConfigurationError(f"There is no service {path}", remedy="Check --queue-id and --instance")
    refuse_foreign(path)
    _launchctl("bootout", f"{_domain()}/{label_of(queue, instance)}", may_fail=True)
    path.unlink()
    if secrets_folder.is_dir():
        for secret in secrets_folder.iterdir():
            secret.unlink()
        secrets_folder.rmdir()
    say(f"stopped and removed {path}")


def refuse_foreign(path: Path) -> None:
    """Raise ConfigurationError if the agent was not written by us, that is, does not run a worker."""
    if not path.is_symlink() and not path.exists():
        return
    try:
        installed = {} if path.is_symlink() else plistlib.loads(path.read_bytes())
        words = installed.get("ProgramArguments", [])
    except (OSError, ValueError, AttributeError, plistlib.InvalidFileException):
        words = []
    if service.MODULE not in words:
        raise ConfigurationError(
            f"{path} was not written by kubiya worker install-service; it was not touched",
            remedy="Move it away first, or use another --instance",
        )


def _domain() -> str:
    return f"gui/{os.getuid()}"


def _launchctl(*words: str, may_fail: bool = False) -> None:
    try:
        finished = subprocess.run(["launchctl", *words], capture_output=True, text=True, timeout=WITHIN, check=False)
    except FileNotFoundError as error:
        raise Unavailable("There is no launchctl on PATH", remedy="Use kubiya worker start -d") from error
    if finished.returncode and not may_fail:
        output = " ".join((finished.stderr or finished.stdout).split())
        raise ConfigurationError(
            f"launchctl {words[0]}: {output or f'exit code {finished.returncode}'}",
            remedy=f"launchctl print {_domain()} shows what is loaded; without such a domain, log in on the desktop",
        )
