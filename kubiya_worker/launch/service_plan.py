"""This module decides what a service takes over of the settings and variables of the shell that installs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from kubiya_worker.launch.daemon import CANCEL_SLACK, KILL_AFTER
from kubiya_worker.launch.service import MODULE, Service
from kubiya_worker.settings import Settings
from kubiya_worker.settings.file import text_of
from kubiya_worker.settings.sources import DEFAULT, Origin

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


@dataclass
class TakenOver:
    """The settings of a service, secrets and private files apart, each by its variable.

    `switches` are flags of its command line; `notes` tell the person what is not taken over.
    """

    environment: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    files: dict[str, str] = field(default_factory=dict)
    switches: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take_setting(self, origin: Origin, value: Any) -> None:
        """Take a setting over, unless it is a default or the service decides it itself."""
        option = origin.option
        if option.secret:
            if value:
                self.secrets[option.env[0]] = value
        elif origin.source == DEFAULT or option.name in OWN or value is None:
            return
        elif option.role == "place":
            self.notes.append(f"{origin.source} is not taken over: a service has its own folders")
        elif option.name in SWITCHES:
            self.switches += [option.flag] if value and option.flag else []
        elif not option.env:
            self.notes.append(f"{origin.source}: {option.key or option.name} is not taken over")
        elif option.name in PRIVATE_FILES:
            self.files[option.env[0]] = str(Path(value).expanduser().absolute())
        else:
            text = option.parse.absolute(value) if option.parse.absolute else text_of(value)
            self.environment[option.env[0]] = text

    def take_variables(self, environ: Mapping[str, str]) -> None:
        """Take over what libraries read that no setting stands for."""
        for name in CARRIED:
            value = environ.get(name, "").strip()
            if value and _has_password(value):
                self.notes.append(f"{name} holds a password and is not taken over")
            elif value:
                self.environment[name] = value
        self.secrets |= {name: environ[name].strip() for name in PROVIDER_KEYS if environ.get(name, "").strip()}
        self.notes += [f"{name} is secret and is not taken over" for name in NOT_BY_FILE if environ.get(name)]


def taken_over(settings: Settings, origins: Sequence[Origin], environ: Mapping[str, str]) -> TakenOver:
    """Return what a service takes over. Pure except that paths become absolute."""
    plan = TakenOver()
    for origin in origins:
        plan.take_setting(origin, getattr(settings, origin.option.name, None))
    plan.take_variables(environ)
    return plan


def service_of(settings: Settings, taken: TakenOver, python: str, *, instance: int, system: bool) -> Service:
    """Return the service that runs a worker with these settings. Pure."""
    argv = (python, "-P", "-m", MODULE, "worker", "start", "--queue-id", settings.queue_id, "--type", "local")
    number = () if instance == 1 else ("--instance", str(instance))
    return Service(
        queue=settings.queue_id,
        instance=instance,
        system=system,
        argv=(*argv, *number, *taken.switches),
        environment=taken.environment,
        secrets=taken.secrets,
        files=taken.files,
        stop_within=settings.grace_period + CANCEL_SLACK + KILL_AFTER,
        keeps_commands=settings.keep_long_commands,
    )


def _has_password(value: str) -> bool:
    try:
        return urlsplit(value).password is not None or "@" in value
    except ValueError:
        return True  # not a URL: treat it as a secret
