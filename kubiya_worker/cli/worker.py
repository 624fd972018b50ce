"""`kubiya worker`: start and manage workers. Each command is a file; it is imported when it is called."""

from __future__ import annotations

import importlib
from typing import Final

import click

COMMANDS: Final = {
    "start": ("kubiya_worker.cli.worker_start:start", "Run a worker, or with -d a supervised one in the background."),
    "stop": ("kubiya_worker.cli.worker_manage:stop", "Stop a worker: running work finishes first."),
    "restart": ("kubiya_worker.cli.worker_manage:restart", "Restart a worker: running work finishes first."),
    "status": ("kubiya_worker.cli.worker_status:status", "Say what is true of a worker."),
    "list": ("kubiya_worker.cli.worker_status:list_", "List the workers of this host."),
    "logs": ("kubiya_worker.cli.worker_logs:logs", "Read a worker's log, across rotations."),
}


class Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
def worker() -> None:
    """Start and manage workers."""
