"""`--reason`: why a person changes something. It goes with each writing request of a command, into the audit record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
LONGEST: Final = 500  # characters
_KEY: Final = "kubiya.reason"  # in click's context, which ends with the command


def option(help: str = "Why. The audit record has it.", *, alias: str = "", value: str = "") -> Callable[[F], F]:
    """Add `--reason`, and an alias of it. The command itself gets it as the argument `value`, if that is named."""
    names = ["--reason", *([alias] if alias else []), *([value] if value else [])]
    return click.option(*names, default="", metavar="TEXT", help=help, callback=_keep, expose_value=bool(value))


def _keep(context: click.Context, _: click.Parameter, text: str) -> str:
    context.meta[_KEY] = text
    return text


def given() -> str:
    """Return the reason that the command was given; empty without one."""
    context = click.get_current_context(silent=True)
    return str(context.meta.get(_KEY) or "").strip()[:LONGEST] if context else ""
