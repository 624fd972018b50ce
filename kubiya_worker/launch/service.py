"""A worker as a service of the host: the values from which systemd and launchd get their definitions.

Both run the worker in the foreground (`kubiya worker start`), each worker with its own folder. Settings of the calling
shell become part of the service's definition, which every user of the host can read (service_plan.py). Secrets do not:
they are written to files that only one user can read, and the worker finds them by `NAME_FILE` variables
(service_files.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

MODULE: Final = "kubiya_worker.cli.main"
PREFIX: Final = "kubiya-worker"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Service:
    """Plain values from which a unit or a plist is made. `secrets` and `files` are keyed by the variable's name.

    `files` are paths of files that only their owner can read; `stop_within` is in seconds.
    """

    queue: str
    instance: int
    system: bool
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)
    files: Mapping[str, str]
    stop_within: float
    keeps_commands: bool = False  # whether long commands go on when it is stopped

    @property
    def name(self) -> str:
        return name_of(self.queue, self.instance)


def name_of(queue: str, instance: int) -> str:
    """Return the service's name. No queue id contains `@`, so worker 2 of `a` cannot collide with worker 1 of `a-2`."""
    return f"{PREFIX}-{queue}" + ("" if instance == 1 else f"@{instance}")


def credential_of(variable: str) -> str:
    """Return the file name for a variable: KUBIYA_API_KEY becomes `api-key`."""
    return variable.removeprefix("KUBIYA_").lower().replace("_", "-")
