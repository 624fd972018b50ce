"""Write the text of a worker's unit of systemd, and say where a unit and its secrets are.

A system unit is restricted as far as an agent's tools can still work in its state directory (docs/daemon.md lists the
restrictions and how to lift them). A user's unit has the restrictions that need no privilege.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from kubiya_worker.errors import (
    EX_CONFIG,
    EX_NOPERM,
    EX_USAGE,
    ConfigurationError,
)
from kubiya_worker.launch import service
from kubiya_worker.launch.daemon import WATCHDOG
from kubiya_worker.launch.service import Service

OLDEST: Final = 250  # the first version of systemd that has LoadCredential= with %d
WITH_BACKOFF: Final = 254  # the first version that has RestartSteps=
MARK: Final = "# Written by `kubiya worker install-service`"
TEMPLATE_STOP_WITHIN: Final = 300.0  # seconds, for a grace period of up to four minutes

ENDS_COMMANDS: Final = (
    "# The worker alone is told to stop, so that its tools can finish; what is left then is killed.",
    "KillMode=mixed",
)
KEEPS_COMMANDS: Final = (
    "# The worker alone is ended, by itself or by its guard all else but long commands: KUBIYA_KEEP_LONG_COMMANDS.",
    "KillMode=process",
)

# An agent's shell, files and Python work with all of these, and so do programs with a JIT compiler (node, java).
HARDENING: Final = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
ProtectSystem=strict
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
LimitCORE=0
UMask=0077
"""
# These need privileges of the manager. A user's unit that sets them fails where user namespaces are restricted.
SYSTEM_HARDENING: Final = """\
DynamicUser=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectHome=yes
PrivateDevices=yes
PrivateMounts=yes
PrivateUsers=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
KeyringMode=private
RemoveIPC=yes
"""
# Tools may read a user's home, but not its secrets. Under a user's manager the settings about files have no effect
# without PrivateUsers= (systemd 252 does not report it); with it the unit fails where users may create no namespaces.
USER_HARDENING: Final = """\
ProtectHome=read-only
InaccessiblePaths=-%h/.ssh -%h/.gnupg -%h/.aws -%h/.azure -%h/.kube -%h/.docker -%h/.netrc -%h/.config/gcloud
InaccessiblePaths=-%h/.kubiya/services -%h/.kubiya/worker-config.yaml
"""


def unit(
    service_definition: Service, version: int = OLDEST, secrets: Path | None = None, *, namespaces: bool = True
) -> str:
    """Return the unit's text, which holds no secrets. Pure. `namespaces`: whether this user may create namespaces."""
    number = "" if service_definition.instance == 1 else f" ({service_definition.instance})"
    user_flag = "" if service_definition.system else "--user "
    network = ["Wants=network-online.target", "After=network-online.target"] if service_definition.system else []
    lines = [
        f"{MARK} for {service_definition.queue}{number}; the next installation writes it anew.",
        f"# Changes of yours: systemctl {user_flag}edit {service_definition.name}",
        "",
        "[Unit]",
        f"Description=Kubiya worker of the queue {escaped(service_definition.queue)}{number}",
        *network,
        "# A network that is away is tried for ever.",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        *_program(service_definition, secrets or secrets_folder(service_definition)),
        "",
        *_restarts(service_definition, version),
        "",
        *_folders_and_hardening(service_definition, namespaces),
        "",
        "[Install]",
        f"WantedBy={'multi-user' if service_definition.system else 'default'}.target",
        "",
    ]
    return "\n".join(lines)


def _folder(service_definition: Service) -> str:
    """Return the name of the service's folder below those of systemd. Pure."""
    return f"{service.PREFIX}/{service_definition.name.removeprefix(f'{service.PREFIX}-')}"


def _program(service_definition: Service, credentials_folder: Path) -> list[str]:
    """Return what is run, with its environment and its credentials. Pure."""
    folder = _folder(service_definition)
    state, run = f"%S/{folder}", f"%t/{folder}"
    # These values contain systemd specifiers on purpose; all others are escaped.
    specifiers = {
        "HOME": state,
        "KUBIYA_WORKSPACE": f"{state}/workspaces",
        "KUBIYA_SPOOL": f"{state}/spool",
        "KUBIYA_ALIVE_FILE": f"{run}/alive",
        "KUBIYA_READY_FILE": f"{run}/ready",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONUNBUFFERED": "1",
        **{f"{name}_FILE": f"%d/{service.credential_of(name)}" for name in service_definition.secrets},
        **{name: f"%d/{service.credential_of(name)}" for name in service_definition.files},
    }
    paths = {
        **{name: str(credentials_folder / service.credential_of(name)) for name in service_definition.secrets},
        **service_definition.files,
    }
    return [
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={' '.join(argument(word) for word in service_definition.argv)}",
        f"WorkingDirectory=-{state}",
        *(f'Environment="{name}={value}"' for name, value in specifiers.items()),
        *(f"Environment={quoted(f'{name}={value}')}" for name, value in service_definition.environment.items()),
        *(f"LoadCredential={service.credential_of(name)}:{escaped(path)}" for name, path in paths.items()),
        f"SyslogIdentifier={service.PREFIX}",
    ]


def _restarts(service_definition: Service, version: int) -> list[str]:
    """Return when it counts as started, when it is started again, and how it is stopped. Pure."""
    return [
        "# Active once it polls; ended when it is silent.",
        "TimeoutStartSec=600",
        f"WatchdogSec={WATCHDOG:g}",
        "Restart=on-failure",
        "RestartSec=2",
        *(["RestartSteps=8", "RestartMaxDelaySec=300"] if version >= WITH_BACKOFF else []),
        "# Wrong usage, a wrong key, a wrong setting: tried once.",
        f"RestartPreventExitStatus={EX_USAGE} {EX_NOPERM} {EX_CONFIG}",
        *(KEEPS_COMMANDS if service_definition.keeps_commands else ENDS_COMMANDS),
        f"TimeoutStopSec={service_definition.stop_within:g}",
    ]


def _folders_and_hardening(service_definition: Service, namespaces: bool) -> list[str]:
    """Return what it may write, and what it may not do. Pure."""
    folder = _folder(service_definition)
    lines = [
        f"StateDirectory={folder}",
        "StateDirectoryMode=0700",
        f"RuntimeDirectory={folder}",
        "RuntimeDirectoryMode=0700",
        *HARDENING.splitlines(),
    ]
    if service_definition.system:
        return [*lines, *SYSTEM_HARDENING.splitlines()]
    private = ["PrivateUsers=yes"] if namespaces else []
    return [*lines, *USER_HARDENING.splitlines(), f"ReadWritePaths=-%S/{folder} -%t/{folder}", *private]


def template(python: str) -> str:
    """Return the unit `kubiya-worker@QUEUE` of the .deb and the .rpm, whose Python is `python`.

    A worker's key and settings are in `/etc/kubiya-worker/QUEUE/`; otherwise it is what `install` makes for the host.
    """
    name = "QUEUE"
    argv = (python, "-P", "-m", service.MODULE, "worker", "start", "--queue-id", name, "--type", "local")
    settings = Path("/etc/kubiya-worker") / name
    service_definition = Service(name, 1, True, argv, {}, {"KUBIYA_API_KEY": ""}, {}, TEMPLATE_STOP_WITHIN)
    _, _, text = unit(service_definition, secrets=settings).partition("\n\n")
    # %d is of systemd 250; that folder is the same in 249, which Ubuntu 22.04 has.
    text = text.replace("=%d/", "=%t/credentials/%n/").replace(
        "\nLoadCredential=", f"\nEnvironmentFile=-{settings}/environment\nLoadCredential=", 1
    )
    head = [
        "# Of the package kubiya-worker: sudo systemctl enable --now kubiya-worker@my-queue, with",
        "#   /etc/kubiya-worker/my-queue/api-key      the key, readable by root alone",
        "#   /etc/kubiya-worker/my-queue/environment  settings, such as CONTROL_PLANE_URL=https://…",
        "# Changes of yours: systemctl edit kubiya-worker@my-queue",
    ]
    return "\n".join(head) + "\n\n" + text.replace(name, "%i")


def escaped(text: str) -> str:
    """Escape a value so that systemd sees no specifier in it.

    Raises ConfigurationError for control characters; a line end would begin a new setting.
    """
    if any(ord(char) < 32 or char == "\x7f" for char in text):
        raise ConfigurationError(f"{text!r} holds control characters", remedy="Correct the setting")
    return text.replace("%", "%%")


def quoted(text: str) -> str:
    """Quote a value as one word, as in systemd.syntax(7)."""
    inner = escaped(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'


def argument(text: str) -> str:
    """Quote one word of a command line, where systemd replaces variables too."""
    return text if re.fullmatch(r"[A-Za-z0-9/._:@+=-]+", text) else quoted(text.replace("$", "$$"))


def unit_file(name: str, *, system: bool) -> Path:
    if system:
        return Path("/etc/systemd/system") / f"{name}.service"
    return _config_home() / "systemd" / "user" / f"{name}.service"


def secrets_folder(service_definition: Service) -> Path:
    return secrets_folder_of(service_definition.name, system=service_definition.system)


def secrets_folder_of(name: str, *, system: bool) -> Path:
    return (Path("/etc/kubiya-worker") if system else Path("~/.kubiya/services").expanduser()) / name


def _config_home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
