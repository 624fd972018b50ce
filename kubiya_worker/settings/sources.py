"""Resolve settings: flags win over environment, environment over file, file over defaults. Values keep their source."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from kubiya_worker.errors import ConfigurationError, NotAllowed, UsageError
from kubiya_worker.settings import cli_context, file, unused_options
from kubiya_worker.settings.table import OPTIONS, Option
from kubiya_worker.settings.value_types import without_credentials
from kubiya_worker.settings.values import Settings

DEFAULT_FILE: Final = Path("~/.kubiya/worker-config.yaml")
DEFAULT: Final = "default"
PREFIXES: Final = ("KUBIYA_", "CONTROL_PLANE_", "TEMPORAL_", "ENFORCER_")
NEAR: Final = 0.9  # similarity of a misspelt variable to a known one: it differs in a letter or two
BAD_KEY: Final = "Check KUBIYA_API_KEY: copy the key again, without quotes, spaces or line breaks"
_HEADER: Final = re.compile(r"[!-~]+")  # characters that an HTTP header carries unchanged


@dataclass(frozen=True)
class Origin:
    """An option's value (None: not set) and its source: a flag, a variable, file:line, or DEFAULT."""

    option: Option
    value: Any
    source: str

    @property
    def display(self) -> str:
        """Return the value for people, with secrets hidden."""
        if self.value is None:
            return ""
        return "[set, hidden]" if self.option.secret else file.text_of(self.value)


def file_of(config: str | None) -> Path | None:
    """Return the configuration file to use: the named one, or the default one if it exists."""
    path = Path(config).expanduser() if config else DEFAULT_FILE.expanduser()
    return path if config or path.is_file() else None


def origins(flags: Mapping[str, Any], environ: Mapping[str, str], config: str | None = None) -> list[Origin]:
    """Return every option with its value and source. `flags` are by option name, None or empty where not given.

    Raises UsageError for a bad flag, ConfigurationError for a bad variable or file.
    """
    unused_options.refuse(flags, environ)
    path = file_of(config)
    entries = _read(path) if path else {}
    origins = {option.name: _origin(option, flags, environ, entries) for option in OPTIONS}
    if origins["api_key"].value is None and origins["api_key_file"].value is None:
        origins |= _of_context(origins, environ)
    return list(origins.values())


def _read(path: Path) -> dict[str, file.FileEntry]:
    """Read a file. A setting's name, as `kubiya config show` prints it, is no key: say where its value belongs."""
    remedies = {}
    for option in OPTIONS:
        if option.key:
            remedies[option.name] = f"Did you mean {option.key!r}?"
        elif option.env:
            remedies[option.name] = f"The file has no key for it: set {option.env[0]}"
    return file.read(path, (option.key for option in OPTIONS if option.key), remedies)


def validate(path: Path, environ: Mapping[str, str]) -> int:
    """Return the number of the file's settings that are used. Raises as `origins` does.

    A bad value raises also when something else overrides it.
    """
    all_origins = origins({}, environ, str(path))
    entries = _read(path)
    for option in OPTIONS:
        entry = entries.get(option.key or "")
        # A reference is read only where it is used.
        if entry and _is_given(entry.text) and not file.VARIABLE.search(entry.text):
            _parsed(option, entry.text, f"{entry.where}: {option.key}")
    return sum(1 for o in all_origins if o.source.startswith(f"{path}:"))


def _of_context(found: Mapping[str, Origin], environ: Mapping[str, str]) -> dict[str, Origin]:
    """Return key, URL and LLM proxy of the CLI's current context, if nothing else sets them."""
    context = cli_context.current(environ)
    if context is None:
        return {}
    values: dict[str, Any] = {"api_key": context.api_key, "control_plane_url": context.api_url}
    if context.proxy and not found["proxy_config_file"].value and not found["proxy_config_json"].value:
        values |= {
            "enable_local_proxy": True,
            "proxy_config_file": context.proxy_file,
            "proxy_config_json": context.proxy_json,
        }
        values |= {"model_override": context.model}
    return {
        name: replace(found[name], value=value, source=context.where)
        for name, value in values.items()
        if value and found[name].source == DEFAULT
    }


def misspelled(environ: Mapping[str, str]) -> dict[str, str]:
    """Return unknown variables that look like a known one, with the name that was probably meant."""
    known = {name for option in OPTIONS for name in (*option.env, *(f"{n}_FILE" for n in option.env if option.secret))}
    suggestions: dict[str, str] = {}
    for name in sorted(set(environ) - known - {cli_context.VARIABLE}):
        if any(entry.has(name) for entry in unused_options.UNUSED_OPTIONS):
            continue
        if not name.startswith(PREFIXES):
            continue
        near = [name.removeprefix("KUBIYA_")] if name.removeprefix("KUBIYA_") in known else []
        near = near or difflib.get_close_matches(name, known, 1, NEAR)
        if near:
            suggestions[name] = near[0]
    return suggestions


def resolve(flags: Mapping[str, Any], environ: Mapping[str, str], config: str | None = None) -> Settings:
    """Return the settings of a worker.

    Raises as `origins` does, UsageError without a queue, NotAllowed without a key.
    """
    values = {o.option.name: o.value for o in origins(flags, environ, config) if o.value is not None}
    key_file = values.pop("api_key_file", None)
    if key_file and "api_key" not in values:
        values["api_key"] = file.read_secret(Path(key_file).expanduser(), "The API key file")
    if "queue_id" not in values:
        raise UsageError("No queue is given", remedy="Use --queue-id Q, or set QUEUE_ID")
    if not values.get("api_key"):
        raise NotAllowed(
            "No API key is given", remedy="Set KUBIYA_API_KEY, or KUBIYA_API_KEY_FILE to a file that holds it"
        )
    if not _HEADER.fullmatch(values["api_key"]):
        raise NotAllowed("The API key contains characters that a key cannot have", remedy=BAD_KEY)
    return Settings(**values)


def _origin(
    option: Option, flags: Mapping[str, Any], environ: Mapping[str, str], entries: Mapping[str, file.FileEntry]
) -> Origin:
    if _is_given(flags.get(option.name)):
        try:
            return Origin(option, option.parse(flags[option.name]), option.flag or option.name)
        except ValueError as error:
            flag_and_value = f"{option.flag}{_displayed(option, flags[option.name])}"
            raise UsageError(
                f"{flag_and_value} is not {error}", remedy=_correction(option, f"leave {option.flag} out")
            ) from error
    for name in option.env:
        if environ.get(name, "").strip():
            return Origin(option, _parsed(option, environ[name].strip(), name), name)
        secret_file = environ.get(f"{name}_FILE", "").strip() if option.secret else ""
        if secret_file:
            path = Path(secret_file).expanduser()
            return Origin(option, file.read_secret(path, f"{name}_FILE: the file"), f"{name}_FILE")
    if option.key and option.key in entries:
        entry = entries[option.key]
        value = entry.value(environ)
        if _is_given(value):
            return Origin(option, _parsed(option, value, f"{entry.where}: {option.key}"), entry.where)
    return Origin(option, option.default, DEFAULT)


def _is_given(value: Any) -> bool:
    """Return whether a flag or a line of the file has a value. A template that fills in nothing leaves it empty."""
    return value is not None and (not isinstance(value, str) or bool(value.strip()))


def _parsed(option: Option, value: Any, where: str) -> Any:
    try:
        return option.parse(value)
    except ValueError as error:
        place, _, key = where.rpartition(": ")
        remedy = _correction(option, f"remove {key}" if place else f"unset {key}")
        raise ConfigurationError(f"{where}{_displayed(option, value)} is not {error}", remedy=remedy) from error


def _correction(option: Option, withdraw: str) -> str:
    """Return what to do about a wrong value; `withdraw` says how to give none. Pure."""
    if option.name == "queue_id":
        return "kubiya queues ls shows the queues"
    default = "" if option.default in (None, "") else f" for {file.text_of(option.default)}"
    return f"Correct it, or {withdraw}{default}"


def _displayed(option: Option, value: Any) -> str:
    """Return a refused value for an error message, without secrets and without a URL's password."""
    return "" if option.secret else f" {without_credentials(str(value))!r}"
