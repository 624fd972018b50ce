"""`kubiya worker`: start and manage workers. Each command is a file; it is imported when it is called."""

from __future__ import annotations

from typing import Final

import click

from kubiya_worker.cli.lazy_group import LazyGroup

COMMANDS: Final = {
    "start": ("kubiya_worker.cli.worker_start:start", "Run a worker, or with -d a supervised one in the background."),
    "stop": ("kubiya_worker.cli.worker_manage:stop", "Stop a worker: running work finishes first."),
    "drain": (
        "kubiya_worker.cli.worker_manage:drain",
        "Let a worker finish all running steps without a time limit, and end.",
    ),
    "restart": ("kubiya_worker.cli.worker_manage:restart", "Restart a worker: running work finishes first."),
    "status": ("kubiya_worker.cli.worker_status:status", "Show the state of a worker."),
    "list": ("kubiya_worker.cli.worker_status:list_", "List the workers of this host."),
    "logs": ("kubiya_worker.cli.worker_logs:logs", "Read a worker's log, across rotations."),
    "top": ("kubiya_worker.cli.worker_top:top", "Watch the workers of this host as they work."),
    "support-bundle": (
        "kubiya_worker.cli.worker_support:bundle",
        "Pack facts for support into one file, without secrets.",
    ),
    "replay": (
        "kubiya_worker.cli.worker_replay:replay",
        "Check that open executions can go on with this installation.",
    ),
    "deployment": (
        "kubiya_worker.cli.worker_deployment:deployment",
        "Choose the version of a worker deployment that gets executions.",
    ),
    "install-service": ("kubiya_worker.cli.worker_service:install", "Make a worker a service of systemd or launchd."),
    "uninstall-service": ("kubiya_worker.cli.worker_service:uninstall", "Stop a worker's service and remove it."),
}


@click.group(cls=LazyGroup, known=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def worker() -> None:
    """Start and manage workers."""
