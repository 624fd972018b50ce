"""The checks of every `kubiya worker start`: those that cost no time.

Key, queue and clock are not checked here: the worker's registration shows them (`process.first_look`). A folder that
cannot be used ends the start or is reported at the place where it is made.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

from kubiya_worker.doctor import host
from kubiya_worker.doctor.check import FAIL, WARN, Check, Report, examine


def faults(folder: Path, places: Mapping[str, Path]) -> Iterator[str]:
    """Yield one line for each fault of this host, nothing for checks that pass. `folder` is ~/.kubiya.

    `places` are the other folders that the worker will write to, keyed by the variable that names each.
    """
    try:
        home = folder.expanduser()
    except RuntimeError:  # a user without a home
        home = Path.cwd()
    looked_at = [
        Check("supervisor", "host", host.supervisor_name),
        Check("disk", "host", functools.partial(host.disk, home)),
        Check("inodes", "host", functools.partial(host.inodes, home)),
        Check("limits", "host", host.limits),
        Check("folders", "host", functools.partial(host.places, places)),
    ]
    for result in examine(looked_at, Report()):
        if result.finding.status in (FAIL, WARN):
            remedy = f". {result.finding.remedy}" if result.finding.remedy else ""
            yield f"{result.check.name}: {result.finding.message}{remedy}"
