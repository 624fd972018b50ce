"""`kubiya worker install-service` and `kubiya worker uninstall-service`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kubiya_worker.cli.options import config_file, queue_option, resolved, settings
from kubiya_worker.errors import UsageError
from kubiya_worker.launch import home as homes
from kubiya_worker.settings.sources import origins

if TYPE_CHECKING:
    from kubiya_worker.launch.service import Service


@click.command()
@settings("queue_id")
@click.option("--instance", type=int, default=1, help="Number of this worker, where a host has several of a queue.")
@click.option("--system", is_flag=True, help="A hardened unit of the host instead of one of this user.")
@click.option("--print", "print_only", is_flag=True, help="Show what would be written, and write nothing.")
@click.option("--wait-timeout", type=float, default=60.0, help="Seconds to wait until it polls.  [default: 60]")
@click.option("--no-wait", is_flag=True, help="Do not wait until it polls.")
@settings("control_plane_url", "api_key_file")
@config_file
@settings("model_override", "heartbeat_interval", "grace_period", "max_concurrent_activities", "log_level")
@settings("metrics_port")
def install(
    config: str | None,
    instance: int,
    system: bool,
    print_only: bool,
    wait_timeout: float,
    no_wait: bool,
    **flags: Any,
) -> None:
    """Make a worker a service of systemd or launchd, with the settings of this shell, and start it.

    The key, the queue and the control plane are checked first. Install it again to apply changed settings.

    Example: kubiya worker install-service --queue-id default
    """
    from kubiya_worker.launch import launchd, preflight, service_plan, systemd

    configured = resolved(flags, config)
    homes.find(configured.queue_id, instance)  # refuses an invalid name
    plan = service_plan.taken_over(configured, origins(flags, os.environ, config), os.environ)
    service_definition = service_plan.service_of(configured, plan, sys.executable, instance=instance, system=system)
    for note in plan.notes:
        _print_event(note)
    mac = sys.platform == "darwin"
    if print_only:
        _print(service_definition, mac)
        return
    if not mac:
        systemd.usable(system=system)
    preflight.check(configured)
    if mac:
        launchd.install(service_definition, _print_event)
    else:
        systemd.install(service_definition, _print_event, 0.0 if no_wait else wait_timeout)
        flag = "" if system else "--user "
        print(f"{'started' if no_wait else 'ready: it polls'}: {service_definition.name}")
        print(f"systemctl {flag}status {service_definition.name}; journalctl {flag}-fu {service_definition.name}")


@click.command()
@queue_option("The worker's queue, as it was named")
@click.option("--instance", type=int, default=1, help="Which one, where several are installed.  [default: 1]")
@click.option("--system", is_flag=True, help="The unit of the host instead of this user's.")
def uninstall(queue_id: str | None, instance: int, system: bool) -> None:
    """Stop a worker's service (running work finishes first), disable it and remove it. Its state is kept.

    Example: kubiya worker uninstall-service --queue-id default
    """
    from kubiya_worker.launch import launchd, systemd

    queue = queue_id or os.environ.get("QUEUE_ID", "").strip()
    if not queue:
        raise UsageError("No queue is given", remedy="Use --queue-id Q, or set QUEUE_ID")
    homes.find(queue, instance)
    if sys.platform == "darwin":
        launchd.uninstall(queue, instance, _print_event)
    else:
        systemd.uninstall(queue, instance, system=system, say=_print_event)


def _print(service_definition: Service, mac: bool) -> None:
    from kubiya_worker.launch import launchd, service, service_files, systemd, systemd_unit

    if mac:
        folder = launchd.folder_of(service_definition.queue, service_definition.instance)
        path, text = (
            launchd.plist_file(service_definition.queue, service_definition.instance),
            launchd.plist(service_definition, folder).decode(),
        )
        secrets_folder = folder / "secrets"
    else:
        path, text = (
            systemd_unit.unit_file(service_definition.name, system=service_definition.system),
            systemd_unit.unit(service_definition, systemd.version_here()),
        )
        secrets_folder = systemd_unit.secrets_folder(service_definition)
    print(f"# {path}\n{text}")
    for name in service_definition.secrets:
        print(f"# {secrets_folder / service.credential_of(name)} (0600): {name}, hidden")
    hidden = service_files.unreachable(
        [Path(service_definition.argv[0]), Path(service.__file__)], system=service_definition.system
    )
    if hidden and not mac:
        _print_event(f"such a service cannot read {hidden}: it would be refused")


def _print_event(text: str) -> None:
    click.echo(f"kubiya worker: {text}", err=True)
