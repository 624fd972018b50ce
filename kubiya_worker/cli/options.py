"""Command options made from the table of settings, the only place that defines meaning, type and default."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click

from kubiya_worker.cli import completion
from kubiya_worker.proxies import spare_loopback
from kubiya_worker.settings import Settings, sources, value_types
from kubiya_worker.settings.file import text_of
from kubiya_worker.settings.sources import DEFAULT_FILE
from kubiya_worker.settings.table import BY_NAME, Option
from kubiya_worker.settings.unused_options import UNUSED_OPTIONS
from kubiya_worker.trust import use_ca_bundle

Command = TypeVar("Command", bound=Callable[..., Any])
QUEUE: Final = "--queue"  # what other commands call it too
_COMPLETED: Final = ((value_types.queue_id, completion.queues), (value_types.path, completion.files))

config_file: Final = click.option(
    "--config", shell_complete=completion.files, metavar="PATH", help=f"Configuration file.  [default: {DEFAULT_FILE}]"
)


def settings(*names: str) -> Callable[[Command], Command]:
    """Add the options of these settings, in this order.

    A command gets the typed text by the setting's name, or None.
    """

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            command = _option(BY_NAME[name])(command)
        return command

    return decorate


def resolved(flags: Mapping[str, Any], config: str | None) -> Settings:
    """Resolve the settings of this command, and use them for its own connections. Raises as `sources.resolve` does."""
    configured = sources.resolve(flags, os.environ, config)
    use_for_connections(configured)
    return configured


def use_for_connections(configured: Settings) -> None:
    """Use the settings for this command's own connections. Raises ConfigurationError for a wrong CA file."""
    use_ca_bundle(configured.ca_file, os.environ)
    spare_loopback(os.environ)


def foreign_flags(command: Command) -> Command:
    """Add hidden flags of other programs that this worker refuses by name (`settings.unused_options`).

    They are not in the help, but in the reference.
    """
    for entry in UNUSED_OPTIONS:
        if entry.flag:
            arguments: dict[str, Any] = {"is_flag": True} if entry.parse is value_types.boolean else {}
            command = click.option(entry.flag, entry.name, default=None, hidden=True, help=entry.says, **arguments)(
                command
            )
    return command


def queue_option(help: str) -> Callable[[Command], Command]:
    """Add `--queue-id` to a command that uses a queue in its own way."""
    option = BY_NAME["queue_id"]
    return click.option(
        str(option.flag), QUEUE, "queue_id", shell_complete=completion.queues, help=f"{help} (or {option.env[0]})."
    )


def _option(option: Option) -> Callable[[Command], Command]:
    assert option.flag, option.name
    arguments: dict[str, Any] = {"metavar": option.parse.word, "shell_complete": _complete(option)}
    if option.parse is value_types.boolean:
        # A value makes it possible to switch off what the environment or the file has set: `--pull=false`. Without the
        # flag the value is None, so that environment and file count.
        arguments = {"is_flag": False, "flag_value": "true", "metavar": "BOOLEAN" if option.default else "[BOOLEAN]"}
    names = (option.short, option.flag) if option.short else (option.flag,)
    if option.name == "queue_id":
        names = (*names, QUEUE)
    return click.option(*names, option.name, default=None, help=help_text(option), **arguments)


def _complete(option: Option) -> completion.Complete | None:
    words = option.parse.schema.get("enum")
    return completion.words(*words) if words else next((of for kind, of in _COMPLETED if option.parse is kind), None)


def help_text(option: Option) -> str:
    """Return the help text of an option."""
    variables = f" (or {', '.join(option.env)})" if option.env else ""
    default = "" if option.default in (None, False, "") else f"  [default: {text_of(option.default)}]"
    return f"{option.help}{variables}.{default}"
