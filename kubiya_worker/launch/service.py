"""A worker as a service of the host: the definition that systemd and launchd get, and the places of their files.

Both run the worker in the foreground (`kubiya worker start`), each worker with its own folder. Settings of the calling
shell become part of the service's definition, which every user of the host can read. Secrets do not: they are written
to files that only one user can read, and the worker finds them by `NAME_FILE` variables.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from kubiya_worker.errors import ConfigurationError, NotAllowed
from kubiya_worker.launch.daemon import CANCEL_SLACK, KILL_AFTER
from kubiya_worker.settings import Settings
from kubiya_worker.settings.file import text_of
from kubiya_worker.settings.sources import DEFAULT, Origin

MODULE: Final = "kubiya_worker.cli.main"
PREFIX: Final = "kubiya-worker"
# Settings that the service decides itself, or that its command line holds.
OWN: Final = frozenset(
    {"queue_id", "deployment_type", "daemon_mode", "api_key_file", "max_log_size", "max_log_backups"}
    | {"image", "image_tag", "pull", "memory", "cpus"}
)
SWITCHES: Final = ("no_cache", "no_update")
# Files that are handed over in the same way as secrets.
PRIVATE_FILES: Final = (
    *("payload_keys_file", "policy_file", "ca_file", "proxy_config_file"),
    *("temporal_tls_cert", "temporal_tls_key", "temporal_tls_ca"),
)
# Variables outside the table of settings that the worker's libraries read.
CARRIED: Final = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_DIR", "TZ", "LANG", "AWS_REGION", "AWS_DEFAULT_REGION"),
)
PROVIDER_KEYS: Final = ("ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY")
NOT_BY_FILE: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK")
# Folders that a hardened unit does not see, or sees empty.
HIDDEN_FROM_SYSTEM: Final = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - PrivateTmp
HIDDEN_FROM_USER: Final = ("/tmp", "/var/tmp")  # noqa: S108 - PrivateTmp

Say = Callable[[str], None]


@dataclass(frozen=True)
class Service:
    """Plain values from which a unit or a plist is made. `secrets` and `files` are keyed by the variable's name.

    `files` are paths of files that only their owner can read; `stop_within` is in seconds.
    """

    queue: str
    instance: int
    system: bool
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    files: Mapping[str, str]
    stop_within: float
    keeps_commands: bool = False  # whether long commands go on when it is stopped

    @property
    def name(self) -> str:
        return name_of(self.queue, self.instance)


def name_of(queue: str, instance: int) -> str:
    """Return the service's name. No queue id contains `@`, so worker 2 of `a` cannot collide with worker 1 of `a-2`."""
    return f"{PREFIX}-{queue}" + ("" if instance == 1 else f"@{instance}")


def credential_of(variable: str) -> str:
    """Return the file name for a variable: KUBIYA_API_KEY becomes `api-key`."""
    return variable.removeprefix("KUBIYA_").lower().replace("_", "-")


def plan(
    settings: Settings,
    origins: Sequence[Origin],
    environ: Mapping[str, str],
    python: str,
    *,
    instance: int,
    system: bool,
) -> tuple[Service, list[str]]:
    """Return the service, and notes for the person. Pure except that paths become absolute."""
    notes: list[str] = []
    environment: dict[str, str] = {}
    secrets: dict[str, str] = {}
    files: dict[str, str] = {}
    argv = [python, "-P", "-m", MODULE, "worker", "start", "--queue-id", settings.queue_id, "--type", "local"]
    argv += [] if instance == 1 else ["--instance", str(instance)]
    for origin in origins:
        option, value = origin.option, getattr(settings, origin.option.name, None)
        if option.secret:
            if value:
                secrets[option.env[0]] = value
        elif origin.source == DEFAULT or option.name in OWN or value is None:
            continue
        elif option.role == "place":
            notes.append(f"{origin.source} is not taken over: a service has its own folders")
        elif option.name in SWITCHES:
            argv += [option.flag] if value and option.flag else []
        elif not option.env:
            notes.append(f"{origin.source}: {option.key or option.name} is not taken over")
        elif option.name in PRIVATE_FILES:
            files[option.env[0]] = _absolute(value)
        else:
            text = option.parse.absolute(value) if option.parse.absolute else text_of(value)
            environment[option.env[0]] = text
    for name in CARRIED:
        value = environ.get(name, "").strip()
        if value and _has_password(value):
            notes.append(f"{name} holds a password and is not taken over")
        elif value:
            environment[name] = value
    secrets.update({name: environ[name].strip() for name in PROVIDER_KEYS if environ.get(name, "").strip()})
    notes += [f"{name} is secret and is not taken over" for name in NOT_BY_FILE if environ.get(name)]
    stop_within = settings.grace_period + CANCEL_SLACK + KILL_AFTER
    made = Service(settings.queue_id, instance, system, tuple(argv), environment, secrets, files, stop_within)
    return replace(made, keeps_commands=settings.keep_long_commands), notes


def unreachable(paths: Sequence[Path], *, system: bool) -> Path | None:
    """Return the first path that the service could not read: hidden by the unit, or not open to its user."""
    hidden = [Path(place) for place in (HIDDEN_FROM_SYSTEM if system else HIDDEN_FROM_USER)]
    for path in paths:
        for candidate in {path, path.resolve()}:
            if any(candidate.is_relative_to(place) for place in hidden):
                return path
            if system and not all(_open_to_all(part) for part in (candidate, *candidate.parents)):
                return path
    return None


def refuse_unreachable(paths: Sequence[Path], *, system: bool) -> None:
    found = unreachable(paths, system=system)
    if found:
        raise ConfigurationError(
            f"A hardened service cannot read {found}",
            remedy="Install the worker where it can: python3 -m venv /opt/kubiya && "
            f"/opt/kubiya/bin/pip install kubiya-worker{'' if system else ' (anywhere but /tmp)'}",
        )


def write(path: Path, text: str, mode: int) -> None:
    """Write a file as a whole, with this mode from the first byte. Raises ConfigurationError, NotAllowed."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), mode)  # the umask may have removed bits
                file.write(text)
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except PermissionError as error:
        raise NotAllowed(f"This user may not write {path}", remedy="Use sudo, or leave out --system") from error
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}", remedy="Check the folder and the disk"
        ) from error


def write_secrets(folder: Path, secrets: Mapping[str, str]) -> None:
    """Write each secret to its own file, in a folder that only the owner can read. Older secrets there are removed."""
    make(folder, 0o700)
    folder.chmod(0o700)
    wanted = {credential_of(name): value for name, value in secrets.items()}
    for old in folder.iterdir():
        if old.name not in wanted and not old.is_dir():
            old.unlink()
    for name, value in wanted.items():
        write(folder / name, value + "\n", 0o600)


def make(folder: Path, mode: int = 0o755) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=mode, exist_ok=True)
    except PermissionError as error:
        raise NotAllowed(f"This user may not make {folder}", remedy="Use sudo, or leave out --system") from error
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be made: {error.strerror}", remedy="Check the folder above it and the disk"
        ) from error


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _has_password(value: str) -> bool:
    try:
        return urlsplit(value).password is not None or "@" in value
    except ValueError:
        return True  # not a URL: treat it as a secret


def _open_to_all(path: Path) -> bool:
    """Return whether every user can pass this directory or read this file."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return bool(mode & (stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH))
