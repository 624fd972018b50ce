"""`kubiya server`: the local control plane alone. This process becomes it."""

from __future__ import annotations

import importlib.util
import os
import sys

import click

from kubiya_worker.errors import ConfigurationError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def server() -> None:
    """Run the local control plane alone."""


@server.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def start(arguments: tuple[str, ...]) -> None:
    """Run it in the foreground until it is stopped; `--help` says its options."""
    if importlib.util.find_spec("uvicorn") is None:
        raise ConfigurationError(
            "The local control plane is not installed", remedy="pip install 'kubiya-worker[server]'"
        )
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "kubiya_worker.server", *arguments])  # noqa: S606
