"""Install a worker as a unit of systemd (`systemd_unit.py` has its text), start it, and remove it.

The worker itself reports its state to systemd (`supervisor/posix/notify.py`): the unit is active once the worker polls,
and is restarted when the event loop is silent.
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
    ConfigurationError,
    NotAllowed,
    TemporaryFailure,
    Unavailable,
)
from kubiya_worker.launch import service, service_files
from kubiya_worker.launch.service import Say, Service
from kubiya_worker.launch.systemd_unit import MARK, OLDEST, secrets_folder, secrets_folder_of, unit, unit_file

BOOTED: Final = Path("/run/systemd/system")  # sd_booted(3)
LINGER: Final = Path("/var/lib/systemd/linger")
CONTROL_WITHIN: Final = 30.0  # seconds for systemctl where nothing is waited for
LINE_PREFIXES: Final = ("kubiya: ", "kubiya worker: ")  # how the last lines of the command and of the worker begin
STOP_SLACK: Final = 15.0  # seconds over TimeoutStopSec


def install(service_definition: Service, say: Say, wait: float) -> None:
    """Write, enable and start the unit. Returns when the worker polls; `wait` is in seconds, 0 only starts it.

    Raises ConfigurationError, NotAllowed, Unavailable (no systemd), TemporaryFailure (does not poll).
    """
    version = usable(system=service_definition.system)
    path = unit_file(service_definition.name, system=service_definition.system)
    refuse_foreign(path)
    service_files.refuse_unreachable(
        [Path(service_definition.argv[0]), Path(service.__file__)], system=service_definition.system
    )
    namespaces = service_definition.system or _may_make_namespaces()
    if not namespaces:
        say("users of this host may make no namespaces: tools reach all files that you reach; --system closes them")
    text = unit(service_definition, version, namespaces=namespaces)
    service_files.write_secrets(secrets_folder(service_definition), service_definition.secrets)
    service_files.make(path.parent)
    service_files.write(path, text, 0o644)
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


def _journal(service_definition: Service, since: float) -> str:
    """Return the worker's last line in the journal."""
    unit_flag = "--unit" if service_definition.system else "--user-unit"
    argv = ["journalctl", unit_flag, service_definition.name, "--since", f"@{since:.0f}", "-o", "cat", "--no-pager"]
    try:
        finished = subprocess.run(argv, capture_output=True, text=True, timeout=CONTROL_WITHIN, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = [line for line in finished.stdout.splitlines() if line.startswith(LINE_PREFIXES)]
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
    _systemctl(system, "kill", f"{name}.service", may_fail=True)  # long commands that would outlive it
    _systemctl(system, "disable", f"{name}.service")
    path.unlink()
    secrets = secrets_folder_of(name, system=system)
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
        match = re.search(r"systemd (\d+)", _systemctl(True, "--version"))
    except Unavailable:
        return OLDEST
    return int(match[1]) if match else 0


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
        finished = _run(argv, _environment(), within)
    except FileNotFoundError as error:
        raise Unavailable("There is no systemctl on PATH", remedy="Use kubiya worker start -d") from error
    if finished.returncode and not may_fail:
        output = " ".join((finished.stderr or finished.stdout).split())
        raise ConfigurationError(
            f"{' '.join(argv)}: {output or f'exit code {finished.returncode}'}",
            remedy=f"journalctl{'' if system else ' --user'} -xe says more",
        )
    return finished.stdout


def _environment() -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(_runtime()), **os.environ, "LC_ALL": "C"}


def _run(argv: Sequence[str], environment: dict[str, str], within: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=within, check=False
    )


def _runtime() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
