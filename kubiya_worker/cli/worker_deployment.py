"""`kubiya worker deployment`: choose the version of a worker deployment that gets executions (docs/upgrades.md)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from kubiya_worker import __version__
from kubiya_worker.cli import options, tables
from kubiya_worker.cli.tables import field
from kubiya_worker.cli.temporal import connected
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.settings import Settings

WAIT: Final = 60.0  # seconds until a version's workers are known and its routing has spread
COLUMNS: Final = (*(field("build"), field("status"), field("new", "NEW EXECUTIONS"), field("open", "OPEN EXECUTIONS")),)

F = TypeVar("F", bound=Callable[..., Any])


def _common(command: F) -> F:
    common_options = (
        options.settings("queue_id"),
        click.option("--name", help="Worker deployment (or TEMPORAL_DEPLOYMENT_NAME)."),
        options.config_file,
    )
    for option in reversed(common_options):
        command = option(command)
    return command


def _timeout(command: F) -> F:
    help_text = "Seconds to wait for a worker of the version."
    return click.option("--timeout", type=click.FloatRange(0, 86_400), default=WAIT, show_default=True, help=help_text)(
        command
    )


def _settings(queue_id: str | None, name: str | None, config: str | None) -> tuple[Settings, str]:
    settings = options.resolved({"queue_id": queue_id}, config)
    name = name or settings.deployment_name
    if not name:
        raise ConfigurationError("No worker deployment is named", remedy="Set TEMPORAL_DEPLOYMENT_NAME, or give --name")
    return settings, name


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def deployment() -> None:
    """Choose the version of a worker deployment that gets the executions, and show all versions."""


@deployment.command()
@_common
@click.option("--json", "as_json", is_flag=True, help="The same as -o json.")
@tables.output()
def show(queue_id: str | None, name: str | None, config: str | None, as_json: bool, output: str) -> None:
    """Show the versions of a deployment, newest first.

    Example: kubiya worker deployment show --name workers
    """
    settings, name = _settings(queue_id, name, config)
    asyncio.run(_print_versions(settings, name, tables.JSON if as_json else output))


async def _print_versions(settings: Settings, name: str, output: str) -> None:
    from kubiya_worker.process import deployment as versions

    async with connected(settings, "deployment") as (client, _):
        all_versions = await versions.versions(client, name)
    if output in (tables.JSON, tables.YAML):
        tables.dump({"deployment": name, "versions": [vars(version) for version in all_versions]}, output)
        return
    ramped = next((version.percent for version in all_versions if version.percent), 0.0)
    rows = []
    for version in all_versions:
        share = 100 - ramped if version.status == "current" else version.percent
        new = "" if share is None else f"{share:g} %"
        open_ = "?" if version.executions is None else version.executions
        rows.append({"build": version.build_id, "status": version.status, "new": new, "open": open_})
    tables.show(rows, COLUMNS, output)
    if not any(version.status == "current" for version in all_versions):
        print(f"No version is current. Choose one: kubiya worker deployment set-current {all_versions[0].build_id}")


@deployment.command("set-current")
@click.argument("build_id", required=False)
@_common
@_timeout
@click.option("--allow-no-pollers", is_flag=True, help="Also when no worker of it polls; executions then wait for one.")
def set_current(
    build_id: str | None,
    queue_id: str | None,
    name: str | None,
    config: str | None,
    timeout: float,
    allow_no_pollers: bool,
) -> None:
    """Send new executions, and those that may move, to a version (default: the one installed here).

    An execution that is pinned to an older version moves when its current step has ended. One that waits for a person
    moves with the next message, so keep a worker of the older version, or use `move`.

    Example: kubiya worker deployment set-current 1.4.0 --name workers
    """
    settings, name = _settings(queue_id, name, config)
    asyncio.run(_set_current(settings, name, build_id or settings.build_id or __version__, timeout, allow_no_pollers))


async def _set_current(settings: Settings, name: str, build: str, timeout: float, idle: bool) -> None:
    from kubiya_worker.process import deployment as versions

    async with connected(settings, "deployment") as (client, _):
        before = await versions.set_current(client, name, build, within=timeout, idle=idle)
    print(f"{build} is the current version of {name}" + (f"; it was {before}" if before and before != build else ""))


@deployment.command()
@click.argument("build_id")
@click.argument("percent", type=click.FloatRange(0, 100))
@_common
@_timeout
def ramp(
    build_id: str, percent: float, queue_id: str | None, name: str | None, config: str | None, timeout: float
) -> None:
    """Send a share of the executions to a version; the others stay with the current one. 0 ends it.

    Example: kubiya worker deployment ramp 1.4.0 20 --name workers
    """
    settings, name = _settings(queue_id, name, config)
    asyncio.run(_ramp(settings, name, build_id, percent, timeout))


async def _ramp(settings: Settings, name: str, build: str, percent: float, timeout: float) -> None:
    from kubiya_worker.process import deployment as versions

    async with connected(settings, "deployment") as (client, _):
        await versions.ramp(client, name, build, percent, within=timeout)
    print(f"{build} of {name} takes {percent:g} % of the executions" if percent else f"No version of {name} is ramping")


@deployment.command()
@click.argument("build_id")
@_common
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each execution, and one for all.")
def move(build_id: str, queue_id: str | None, name: str | None, config: str | None, as_json: bool) -> int:
    """Move the open executions of an older version to the current one, so that its workers can stop.

    Run it where the current version is installed. Each history is replayed first, and an execution whose replay fails
    stays; then the exit code is 1, and a worker of the older version must be kept.

    Example: kubiya worker deployment move 1.3.0 --name workers
    """
    settings, name = _settings(queue_id, name, config)
    return asyncio.run(_move(settings, name, build_id, as_json))


async def _move(settings: Settings, name: str, build: str, as_json: bool) -> int:
    from kubiya_worker import extension_loading
    from kubiya_worker.process import deployment as versions
    from kubiya_worker.process import replay
    from kubiya_worker.protocol import names

    moved = stayed = 0
    async with connected(settings, "deployment") as (client, queue):
        installed, current = settings.build_id or __version__, await versions.current(client, name)
        if build == current:
            raise ConfigurationError(
                f"{build} is the current version of {name}", remedy="Name the version to move from"
            )
        if current != installed:
            raise ConfigurationError(
                f"The current version of {name} is {current or 'none'}, and {installed} is installed here",
                remedy="Run it where the current version is installed: histories are replayed with it",
            )
        custom = extension_loading.load(settings.extensions, names.OURS).workflows
        async for replayed in replay.replay(client, queue, custom, f"AND {versions.of_version(name, build)}"):
            if replayed.fault is None and not await versions.release(client, replayed.workflow_id):
                continue  # it has ended meanwhile
            moved, stayed = moved + (replayed.fault is None), stayed + (replayed.fault is not None)
            if as_json:
                print(
                    json.dumps(
                        {"workflow_id": replayed.workflow_id, "moved": replayed.fault is None, "fault": replayed.fault}
                    )
                )
            else:
                print(f"{'moved ' if replayed.fault is None else 'STAYS '} {replayed.workflow_id}")
                if replayed.fault is not None:
                    print(f"       {replayed.fault}")
    if as_json:
        print(json.dumps({"moved": moved, "stayed": stayed, "from": build, "to": installed}))
    else:
        print(f"{moved} open executions moved from {build} to {installed}" + (f", {stayed} stay" if stayed else ""))
    return 1 if stayed else 0
