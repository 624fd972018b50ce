"""`kubiya worker install-service` and `kubiya worker uninstall-service`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kubiya_worker.cli.completion import files, levels, queues
from kubiya_worker.errors import UsageError
from kubiya_worker.launch import home as homes
from kubiya_worker.settings import resolve
from kubiya_worker.settings.sources import origins

if TYPE_CHECKING:
    from kubiya_worker.launch.service import Service


@click.command()
@click.option("--queue-id", shell_complete=queues, help="Worker queue, by id or name (or QUEUE_ID).")
@click.option("--instance", type=int, default=1, help="Number of this worker, where a host has several of a queue.")
@click.option("--system", is_flag=True, help="A hardened unit of the host instead of one of this user.")
@click.option("--print", "print_only", is_flag=True, help="Show what would be written, and write nothing.")
@click.option("--wait-timeout", type=float, default=60.0, help="Seconds to wait until it polls.  [default: 60]")
@click.option("--no-wait", is_flag=True, help="Do not wait until it polls.")
@click.option("--control-plane-url", help="Control plane (or CONTROL_PLANE_GATEWAY_URL, CONTROL_PLANE_URL).")
@click.option(
    "--api-key-file", shell_complete=files, help="File that holds the API key (or KUBIYA_API_KEY in the environment)."
)
@click.option("--config", shell_complete=files, help="Configuration file.  [default: ~/.kubiya/worker-config.yaml]")
@click.option("--model", "model_override", help="Model for every agent on this worker.")
@click.option("--heartbeat-interval", help="Seconds between heartbeats.  [default: 30]")
@click.option("--grace-period", help="Time that running steps have when it is stopped.  [default: 30]")
@click.option("--max-concurrent-activities", help="Steps that run at the same time.  [default: 10]")
@click.option("--log-level", shell_complete=levels, help="DEBUG, INFO, WARNING or ERROR.  [default: INFO]")
@click.option("--metrics-port", help="Port of /metrics, /healthz and /readyz.")
def install(
    config: str | None,
    instance: int,
    system: bool,
    print_only: bool,
    wait_timeout: float,
    no_wait: bool,
    **flags: Any,
) -> None:
    """Make a worker a service of systemd or launchd, with the settings of this shell; start it.

    The key, the queue and the control plane are checked first. Installing it again takes over changed settings.
    """
    from kubiya_worker.launch import launchd, preflight, service, systemd

    settings = resolve(flags, os.environ, config)
    homes.find(settings.queue_id, instance)  # refuses what cannot be a name
    found = origins(flags, os.environ, config)
    made, notes = service.plan(settings, found, os.environ, sys.executable, instance=instance, system=system)
    for note in notes:
        _say(note)
    mac = sys.platform == "darwin"
    if print_only:
        _print(made, mac)
        return
    if not mac:
        systemd.usable(system=system)
    preflight.check(settings)
    if mac:
        launchd.install(made, _say)
    else:
        systemd.install(made, _say, 0.0 if no_wait else wait_timeout)
        flag = "" if system else "--user "
        print(f"{'started' if no_wait else 'ready: it polls'}: {made.name}")
        print(f"systemctl {flag}status {made.name}; journalctl {flag}-fu {made.name}")


@click.command()
@click.option("--queue-id", shell_complete=queues, help="The worker's queue, as it was named (or QUEUE_ID).")
@click.option("--instance", type=int, default=1, help="Which one, where several are installed.  [default: 1]")
@click.option("--system", is_flag=True, help="The unit of the host instead of this user's.")
def uninstall(queue_id: str | None, instance: int, system: bool) -> None:
    """Stop a worker's service (running work finishes first), disable it and remove it. Its state stays."""
    from kubiya_worker.launch import launchd, systemd

    queue = queue_id or os.environ.get("QUEUE_ID", "").strip()
    if not queue:
        raise UsageError("No queue is given", remedy="Use --queue-id Q, or set QUEUE_ID")
    homes.find(queue, instance)
    if sys.platform == "darwin":
        launchd.uninstall(queue, instance, _say)
    else:
        systemd.uninstall(queue, instance, system=system, say=_say)


def _print(made: Service, mac: bool) -> None:
    from kubiya_worker.launch import launchd, service, systemd

    if mac:
        folder = launchd.folder_of(made.queue, made.instance)
        path, text = launchd.plist_file(made.queue, made.instance), launchd.plist(made, folder).decode()
        kept = folder / "secrets"
    else:
        path, text = systemd.unit_file(made.name, system=made.system), systemd.unit(made, systemd.version_here())
        kept = systemd.secrets_folder(made)
    print(f"# {path}\n{text}")
    for name in made.secrets:
        print(f"# {kept / service.credential_of(name)} (0600): {name}, hidden")
    hidden = service.unreachable([Path(made.argv[0]), Path(service.__file__)], system=made.system)
    if hidden and not mac:
        _say(f"such a service cannot read {hidden}: it would be refused")


def _say(text: str) -> None:
    click.echo(f"kubiya worker: {text}", err=True)
