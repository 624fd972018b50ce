"""Flags before environment before file before defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubiya_worker.errors import ConfigurationError, NotAllowed, UsageError
from kubiya_worker.settings import file
from kubiya_worker.settings.table import OPTIONS, Option
from kubiya_worker.settings.values import Settings

DEFAULT_FILE = Path("~/.kubiya/worker-config.yaml")


def resolve(flags: Mapping[str, Any], environ: Mapping[str, str], config: str | None = None) -> Settings:
    """The settings of a worker. `flags` are by option name, None where not given.

    Raises UsageError for a bad flag, ConfigurationError for a bad variable or file, NotAllowed without a key.
    """
    path = Path(config).expanduser() if config else DEFAULT_FILE.expanduser()
    entries: dict[str, file.Entry] = {}
    if config or path.is_file():
        entries = file.read(path, (o.key for o in OPTIONS if o.key), environ)
    values: dict[str, Any] = {}
    for option in OPTIONS:
        value = _value(option, flags, environ, entries)
        if value is not None:
            values[option.name] = value
    key_file = values.pop("api_key_file", None)
    if key_file and "api_key" not in values:
        values["api_key"] = _read_key(key_file)
    if "queue_id" not in values:
        raise UsageError("No queue is given", remedy="Use --queue-id Q, or set QUEUE_ID")
    if not values.get("api_key"):
        raise NotAllowed(
            "No API key is given", remedy="Set KUBIYA_API_KEY, or KUBIYA_API_KEY_FILE to a file that holds it"
        )
    return Settings(**values)


def _value(
    option: Option, flags: Mapping[str, Any], environ: Mapping[str, str], entries: Mapping[str, file.Entry]
) -> Any:
    if flags.get(option.name) is not None:
        try:
            return option.parse(flags[option.name])
        except ValueError as error:
            raise UsageError(f"{option.flag} {flags[option.name]!r} is not {error}") from error
    for name in option.env:
        if environ.get(name, "").strip():
            return _parsed(option, environ[name].strip(), name)
    if option.key and option.key in entries:
        entry = entries[option.key]
        return _parsed(option, entry.value, f"{entry.where}: {option.key}")
    return option.default


def _parsed(option: Option, value: Any, where: str) -> Any:
    try:
        return option.parse(value)
    except ValueError as error:
        shown = "" if option.secret else f" {value!r}"
        raise ConfigurationError(f"{where}{shown} is not {error}", remedy="Correct it") from error


def _read_key(name: str) -> str:
    path = Path(name).expanduser()
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The API key file {path} cannot be read: {error}") from error
    if not key:
        raise ConfigurationError(f"The API key file {path} is empty")
    return key
