"""`kubiya worker`: start a worker."""

from __future__ import annotations

import os
from typing import Any

import click

from kubiya_worker.errors import UsageError
from kubiya_worker.launch import local
from kubiya_worker.settings import resolve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def worker() -> None:
    """Start and manage workers."""


@worker.command()
@click.option("--queue-id", help="Worker queue, by id or name (or QUEUE_ID).")
@click.option("--type", "deployment_type", help="Deployment type: local.  [default: local]")
@click.option("-d", "--daemon", "daemon_mode", is_flag=True, default=None, help="Run in the background, supervised.")
@click.option("--control-plane-url", help="Control plane (or CONTROL_PLANE_GATEWAY_URL, CONTROL_PLANE_URL).")
@click.option("--api-key-file", help="File that holds the API key (or KUBIYA_API_KEY in the environment).")
@click.option("--config", help="Configuration file.  [default: ~/.kubiya/worker-config.yaml]")
@click.option("--model", "model_override", help="Model for every agent on this worker.")
@click.option("--heartbeat-interval", help="Seconds between heartbeats.  [default: 30]")
@click.option("--grace-period", help="Time that running steps have after SIGTERM.  [default: 30]")
@click.option("--max-concurrent-activities", help="Steps that run at the same time.  [default: 10]")
@click.option("--log-level", help="DEBUG, INFO, WARNING or ERROR.  [default: INFO]")
@click.option("--api-key", "api_key_on_argv", hidden=True, help="Refused: argv is visible to every user.")
def start(config: str | None, api_key_on_argv: str | None, **flags: Any) -> None:
    """Run a worker in the foreground until it is stopped."""
    if api_key_on_argv is not None:
        raise UsageError(
            "An API key on the command line is visible to every user of this host",
            remedy="Set KUBIYA_API_KEY, or use --api-key-file; and replace that key",
        )
    settings = resolve(flags, os.environ, config)
    if settings.daemon_mode:
        raise UsageError(
            "The daemon mode is not in this version yet",
            remedy="Run it in the foreground, or under systemd: the worker speaks Type=notify",
        )
    if settings.deployment_type == "docker":
        raise UsageError("--type=docker is not in this version yet", remedy="Use --type=local")
    local.exec_worker(settings)
