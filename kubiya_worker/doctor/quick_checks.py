"""The checks of every `kubiya worker start`: those that cost no time.

Key, queue and clock are not checked here: the worker's registration and `process.startup_checks` check them. A folder
that cannot be used is reported by the code that creates it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from kubiya_worker.doctor import host, shell_command
from kubiya_worker.doctor.check import FAIL, WARN, Check, Report, examine


def faults(folder: Path, folders: Mapping[str, Path], *, first_start: bool = False) -> Iterator[str]:
    """Yield one line for each fault of this host, nothing for checks that pass. `folder` is ~/.kubiya.

    `folders` are the other folders that the worker will write to, keyed by the variable that names each. `first_start`:
    also say whether the shell means another `kubiya`; later starts do not, as it is no fault of the worker.
    """
    if first_start:
        yield from clash(os.environ)
    try:
        home = folder.expanduser()
    except RuntimeError:  # a user without a home
        home = Path.cwd()
    checks = [
        Check("supervisor", "host", host.supervisor_package),
        Check("disk", "host", functools.partial(host.disk, home)),
        Check("inodes", "host", functools.partial(host.inodes, home)),
        Check("limits", "host", host.limits),
        Check("folders", "host", functools.partial(host.folders_of_worker, folders)),
    ]
    yield from _lines(checks)


def clash(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a line when the shell's `kubiya` is another program, or another installation of this one."""
    yield from _lines([Check("command", "host", functools.partial(shell_command.finding, environ))])


def _lines(checks: Sequence[Check]) -> Iterator[str]:
    for result in examine(checks, Report()):
        if result.finding.status in (FAIL, WARN):
            remedy = f". {result.finding.remedy}" if result.finding.remedy else ""
            yield f"{result.check.name}: {result.finding.message}{remedy}"
