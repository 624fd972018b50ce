"""A worker as a unit of systemd: the unit's text, and installing and removing it.

The worker itself reports its state to systemd (`supervisor/posix/notify.py`): the unit is active once the worker polls,
and is restarted when the event loop is silent. A system unit is restricted as far as an agent's tools can still work in
its state directory (docs/daemon.md lists the restrictions and how to lift them). A user's unit has the restrictions
that need no privilege.
"""

from __future__ import annotations

import getpass
import os
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kubiya_worker.errors import (
    EX_CONFIG,
    EX_NOPERM,
    EX_USAGE,
    ConfigurationError,
    NotAllowed,
    TemporaryFailure,
    Unavailable,
)
from kubiya_worker.launch import service
from kubiya_worker.launch.daemon import WATCHDOG
from kubiya_worker.launch.service import Say, Service

OLDEST: Final = 250  # the first version of systemd that has LoadCredential= with %d
WITH_BACKOFF: Final = 254  # the first version that has RestartSteps=
MARK: Final = "# Written by `kubiya worker install-service`"
BOOTED: Final = Path("/run/systemd/system")  # sd_booted(3)
LINGER: Final = Path("/var/lib/systemd/linger")
CONTROL_WITHIN: Final = 30.0  # seconds for systemctl where nothing is waited for
LINE_PREFIXES: Final = ("kubiya: ", "kubiya worker: ")  # how the last lines of the command and of the worker begin
TEMPLATE_STOP_WITHIN: Final = 300.0  # seconds, for a grace period of up to four minutes
STOP_SLACK: Final = 15.0  # seconds over TimeoutStopSec

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
    folder = f"{service.PREFIX}/{service_definition.name.removeprefix(f'{service.PREFIX}-')}"
    state, run = f"%S/{folder}", f"%t/{folder}"
    credentials_folder = secrets or secrets_folder(service_definition)
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
    credentials = [
        *(
            (service.credential_of(name), str(credentials_folder / service.credential_of(name)))
            for name in service_definition.secrets
        ),
        *((service.credential_of(name), path) for name, path in service_definition.files.items()),
    ]
    network = ["Wants=network-online.target", "After=network-online.target"] if service_definition.system else []
    backoff = ["RestartSteps=8", "RestartMaxDelaySec=300"] if version >= WITH_BACKOFF else []
    number = "" if service_definition.instance == 1 else f" ({service_definition.instance})"
    lines = [
        f"{MARK} for {service_definition.queue}{number}; the next installation writes it anew.",
        f"# Changes of yours: systemctl {'' if service_definition.system else '--user '}edit {service_definition.name}",
        "",
        "[Unit]",
        f"Description=Kubiya worker of the queue {escaped(service_definition.queue)}{number}",
        *network,
        "# A network that is away is tried for ever.",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={' '.join(argument(word) for word in service_definition.argv)}",
        f"WorkingDirectory=-{state}",
        *(f'Environment="{name}={value}"' for name, value in specifiers.items()),
        *(f"Environment={quoted(f'{name}={value}')}" for name, value in service_definition.environment.items()),
        *(f"LoadCredential={name}:{escaped(path)}" for name, path in credentials),
        f"SyslogIdentifier={service.PREFIX}",
        "",
        "# Active once it polls; ended when it is silent.",
        "TimeoutStartSec=600",
        f"WatchdogSec={WATCHDOG:g}",
        "Restart=on-failure",
        "RestartSec=2",
        *backoff,
        "# Wrong usage, a wrong key, a wrong setting: tried once.",
        f"RestartPreventExitStatus={EX_USAGE} {EX_NOPERM} {EX_CONFIG}",
        "# The worker alone is told to stop, so that its tools can finish; what is left then is killed.",
        "KillMode=mixed",
        f"TimeoutStopSec={service_definition.stop_within:g}",
        "",
        f"StateDirectory={folder}",
        "StateDirectoryMode=0700",
        f"RuntimeDirectory={folder}",
        "RuntimeDirectoryMode=0700",
        *HARDENING.splitlines(),
        *(SYSTEM_HARDENING if service_definition.system else USER_HARDENING).splitlines(),
        *([] if service_definition.system else [f"ReadWritePaths=-{state} -{run}"]),
        *(["PrivateUsers=yes"] if namespaces and not service_definition.system else []),
        "",
        "[Install]",
        f"WantedBy={'multi-user' if service_definition.system else 'default'}.target",
        "",
    ]
    return "\n".join(lines)


def template(python: str) -> str:
    """Return the unit `kubiya-worker@QUEUE` of the .deb and the .rpm, whose Python is `python`.

    A worker's key and settings are in `/etc/kubiya-worker/QUEUE/`; otherwise it is what `install` makes for the host.
    """
    name = "QUEUE"
    argv = (python, "-P", "-m", service.MODULE, "worker", "start", "--queue-id", name, "--type", "local")
    settings = Path("/etc/kubiya-worker") / name
    made = Service(name, 1, True, argv, {}, {"KUBIYA_API_KEY": ""}, {}, TEMPLATE_STOP_WITHIN)
    _, _, text = unit(made, secrets=settings).partition("\n\n")
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


def secrets_folder(made: Service) -> Path:
    return _secrets_folder(made.name, system=made.system)


def _secrets_folder(name: str, *, system: bool) -> Path:
    return (Path("/etc/kubiya-worker") if system else Path("~/.kubiya/services").expanduser()) / name


def install(service_definition: Service, say: Say, wait: float) -> None:
    """Write, enable and start the unit. Returns when the worker polls; `wait` is in seconds, 0 only starts it.

    Raises ConfigurationError, NotAllowed, Unavailable (no systemd), TemporaryFailure (does not poll).
    """
    version = usable(system=service_definition.system)
    path = unit_file(service_definition.name, system=service_definition.system)
    refuse_foreign(path)
    service.refuse_unreachable(
        [Path(service_definition.argv[0]), Path(service.__file__)], system=service_definition.system
    )
    namespaces = service_definition.system or _may_make_namespaces()
    if not namespaces:
        say("users of this host may make no namespaces: tools reach all files that you reach; --system closes them")
    text = unit(service_definition, version, namespaces=namespaces)
    service.write_secrets(secrets_folder(service_definition), service_definition.secrets)
    service.make(path.parent)
    service.write(path, text, 0o644)
    _systemctl(service_definition.system, "daemon-reload")
    _systemctl(service_definition.system, "enable", f"{service_definition.name}.service")
    say(f"wrote and enabled {path}")
    if not service_definition.system and not (LINGER / getpass.getuser()).exists():
        say(f"it ends when {getpass.getuser()} logs out; to keep it: sudo loginctl enable-linger {getpass.getuser()}")
    _start(service_definition, wait)


def _may_make_namespaces() -> bool:
    """Return whether this user's manager, which makes namespaces for its units, is allowed to."""
    argv = ["systemd-run", "--user", "--wait", "--collect", "--quiet", "-p", "PrivateUsers=yes", "true"]
    try:
        return _run(argv, _environment(), CONTROL_WITHIN).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _start(service_definition: Service, wait: float) -> None:
    began = time.time()
    flag = "" if service_definition.system else "--user "
    if not wait:
        _systemctl(service_definition.system, "restart", "--no-block", f"{service_definition.name}.service")
        return
    try:
        _systemctl(service_definition.system, "restart", f"{service_definition.name}.service", within=wait)
    except subprocess.TimeoutExpired:
        raise TemporaryFailure(
            f"{service_definition.name} does not poll yet after {wait:g} s; it goes on trying",
            remedy=f"systemctl {flag}status {service_definition.name}; journalctl {flag}-u {service_definition.name}",
        ) from None
    except ConfigurationError as error:
        last = _journal(service_definition, began)
        raise TemporaryFailure(
            f"{service_definition.name} did not start: {last or error.message}",
            remedy=f"journalctl {flag}-u {service_definition.name}",
        ) from error


def _journal(made: Service, since: float) -> str:
    """Return the worker's last line in the journal."""
    unit_flag = "--unit" if made.system else "--user-unit"
    argv = ["journalctl", unit_flag, made.name, "--since", f"@{since:.0f}", "-o", "cat", "--no-pager"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=CONTROL_WITHIN, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = [line for line in done.stdout.splitlines() if line.startswith(LINE_PREFIXES)]
    return lines[-1].partition(": ")[2] if lines else ""


def uninstall(queue: str, instance: int, *, system: bool, say: Say) -> None:
    """Stop (running work finishes first), disable and remove the unit. Its state directory is kept."""
    usable(system=system)
    name = service.name_of(queue, instance)
    path = unit_file(name, system=system)
    if not path.exists():
        other = unit_file(name, system=not system)
        hint = f"There is {other}: {'leave out' if system else 'add'} --system" if other.exists() else ""
        raise ConfigurationError(f"There is no service {path}", remedy=hint)
    refuse_foreign(path)
    _may_write(system)
    stop_within = re.search(r"^TimeoutStopSec=([\d.]+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    within = (float(stop_within[1]) if stop_within else 90.0) + STOP_SLACK
    _systemctl(system, "stop", f"{name}.service", within=within)
    _systemctl(system, "disable", f"{name}.service")
    path.unlink()
    secrets = _secrets_folder(name, system=system)
    if secrets.is_dir():
        for secret in secrets.iterdir():
            secret.unlink()
        secrets.rmdir()
    for shared in (secrets.parent, (Path("/run") if system else _runtime()) / service.PREFIX):
        _remove_empty(shared)
    _systemctl(system, "daemon-reload")
    _systemctl(system, "reset-failed", f"{name}.service", may_fail=True)
    say(f"stopped, disabled and removed {path}")
    changes = path.with_name(f"{path.name}.d")
    if changes.exists():
        say(f"your changes are left in {changes}")


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        pass  # missing, or another service uses it


def usable(*, system: bool) -> int:
    """Return the version of the running systemd. Raises Unavailable without one, ConfigurationError for an old one."""
    if not BOOTED.is_dir():
        raise Unavailable(
            "No systemd runs here (a container?)",
            remedy="Use `kubiya worker start -d`, or make `kubiya worker start` the container's command; "
            "--print shows the unit",
        )
    _may_write(system)
    if not system and not (_runtime() / "systemd").is_dir():
        raise Unavailable(
            f"systemd has no session of the user {getpass.getuser()}",
            remedy=f"sudo loginctl enable-linger {getpass.getuser()}, or install for the host with --system",
        )
    version = version_here()
    if version < OLDEST:
        raise ConfigurationError(
            f"systemd {version} cannot hand over credentials; {OLDEST} is needed", remedy="Use kubiya worker start -d"
        )
    return version


def version_here() -> int:
    """Return the version of systemd on this host; OLDEST without one, which `--print` uses."""
    try:
        found = re.search(r"systemd (\d+)", _systemctl(True, "--version"))
    except Unavailable:
        return OLDEST
    return int(found[1]) if found else 0


def refuse_foreign(path: Path) -> None:
    """Raise ConfigurationError for a unit that another program or a person wrote."""
    try:
        text = None if path.is_symlink() else path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError):
        text = None
    if text is None or not text.startswith(MARK):
        raise ConfigurationError(
            f"{path} was not written by kubiya worker install-service; it was not touched",
            remedy="Move it away first, or use another --instance",
        )


def _may_write(system: bool) -> None:
    if system and os.geteuid() != 0:
        raise NotAllowed(
            "A system unit is root's to install",
            remedy="Use sudo with --api-key-file, or leave out --system for a unit of your own",
        )


def _systemctl(system: bool, *words: str, within: float = CONTROL_WITHIN, may_fail: bool = False) -> str:
    """Return the output of systemctl.

    Raises ConfigurationError with its message; Unavailable without systemctl; subprocess.TimeoutExpired.
    """
    argv = ["systemctl", *([] if system else ["--user"]), *words]
    try:
        done = _run(argv, _environment(), within)
    except FileNotFoundError as error:
        raise Unavailable("There is no systemctl on PATH") from error
    if done.returncode and not may_fail:
        output = " ".join((done.stderr or done.stdout).split())
        raise ConfigurationError(f"{' '.join(argv)}: {output or f'exit code {done.returncode}'}")
    return done.stdout


def _environment() -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(_runtime()), **os.environ, "LC_ALL": "C"}


def _run(argv: Sequence[str], environment: dict[str, str], within: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=within, check=False
    )


def _runtime() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")


def _config_home() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
