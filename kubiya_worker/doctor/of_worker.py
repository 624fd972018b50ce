"""Run the doctor's cheap checks of a host for a worker that runs there; `process.self_check` starts this program.

It is a program of its own, so that it takes neither the worker's time nor its memory, and ends with its work. It reads
{"home", "folders", "confinement"} as JSON, and prints a JSON list of {name, status, message, remedy} of what did not
pass.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kubiya_worker.doctor import host
from kubiya_worker.doctor.check import FAIL, PASS, WARN, Check, Finding, Report, examine
from kubiya_worker.settings.sources import misspelled

NICE: Final = 10


def checks(asked: Mapping[str, Any], environ: Mapping[str, str]) -> list[Check]:
    """Return the checks that need neither the network nor another program."""
    home = Path(asked["home"])
    folders = {name: Path(folder) for name, folder in asked["folders"].items()}

    def variables() -> Finding:
        wrong = misspelled(environ)
        if not wrong:
            return Finding(PASS, "all are known")
        text = "; ".join(f"{name} is not a known variable (did you mean {near}?)" for name, near in wrong.items())
        return Finding(WARN, text, "; ".join(f'export {near}="${name}"; unset {name}' for name, near in wrong.items()))

    return [
        Check("packages", "host", host.packages),
        Check("supervisor", "host", host.supervisor_package),
        Check("disk", "host", functools.partial(host.disk, home)),
        Check("inodes", "host", functools.partial(host.inodes, home)),
        Check("permissions", "host", functools.partial(host.permissions, home)),
        Check("limits", "host", host.limits),
        Check("confinement", "host", functools.partial(host.confinement, asked["confinement"])),
        Check("folders", "host", functools.partial(host.folders_of_worker, folders)),
        Check("settings", "host", variables),
    ]


def main() -> None:
    """Read what is asked, and print what did not pass."""
    os.nice(NICE)
    results = [
        {
            "name": result.check.name,
            "status": result.finding.status,
            "message": result.finding.message,
            "remedy": result.finding.remedy,
        }
        for result in examine(checks(json.load(sys.stdin), os.environ), Report())
        if result.finding.status in (FAIL, WARN)
    ]
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main()
