"""`kubiya server`: the local control plane alone. This process becomes it."""

from __future__ import annotations

import os
import sys

import click

from kubiya_worker.launch.local import check_server_installed


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def server() -> None:
    """Run the local control plane alone."""


@server.command(
    short_help="Run it in the foreground until it is stopped.",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def start(arguments: tuple[str, ...]) -> None:
    """Run it in the foreground until it is stopped; `--help` says its options."""
    check_server_installed()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "kubiya_worker.server", *arguments])  # noqa: S606
