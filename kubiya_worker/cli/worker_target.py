"""Find the worker that a command means: `--queue-id` (or QUEUE_ID) and `--instance`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from kubiya_worker.cli.options import queue_option
from kubiya_worker.errors import UsageError
from kubiya_worker.launch import containers
from kubiya_worker.launch import home as homes
from kubiya_worker.launch.home import Home


def worker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--queue-id` and `--instance` to a command."""
    command = click.option("--instance", type=int, default=1, help="Which one, where several run.  [default: 1]")(
        command
    )
    return queue_option("The worker's queue, by id or name")(command)


def home_of(queue_id: str | None, instance: int) -> Home:
    """Return the home by flag or variable; without them, the only one that exists.

    Raises UsageError, which lists the known queues.
    """
    named = queue_id or os.environ.get("QUEUE_ID", "").strip()
    if named:
        return homes.find(named, instance)
    all_homes = list(homes.started())
    if len(all_homes) == 1 and instance == 1:
        return all_homes[0]
    queues_of_containers = {container.queue for container in containers.find()} if not all_homes else set()
    if len(queues_of_containers) == 1 and instance == 1:
        return homes.find(queues_of_containers.pop())
    names = ", ".join(sorted({h.queue for h in all_homes} | queues_of_containers))
    raise UsageError("No queue is given", remedy=f"Use --queue-id Q{f'; there are {names}' if names else ''}")
