"""A group that imports a command's module only when the command runs, so that each command starts fast."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

from kubiya_worker import garbage


class LazyGroup(click.Group):
    """A group of commands. `known` maps a name to (`module:attribute`, help text)."""

    def __init__(self, *args: Any, known: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._known = known

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._known)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._known:
            return None
        module, _, name = self._known[cmd_name][0].partition(":")
        with garbage.paused():
            command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def known_help(self, name: str) -> str:
        """Return the help text of a command, without importing the command."""
        return self._known[name][1]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._known.items()])
