"""This module keeps what is wrong with a worker's host and connections, with the remedy; heartbeats tell it.

The host is examined by a program of its own (`doctor.of_worker`), some time after the worker is ready and then each
hour, because a disk fills while a worker runs. The checks of the start add what they find.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import structlog

from kubiya_worker.settings import Settings

log = structlog.get_logger()

PROGRAM: Final = "kubiya_worker.doctor.of_worker"
AFTER: Final = 10.0  # seconds after the worker is ready, when its first runs have begun
EVERY: Final = 3600.0  # seconds
WITHIN: Final = 60.0  # seconds; a host that is this slow has other troubles
MOST: Final = 12  # findings
LONGEST: Final = 300  # characters of a text
FIELDS: Final = ("name", "status", "message", "remedy")


class HostFindings:
    """Hold the findings of each source; `told` may be called from any thread."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._by_source: dict[str, tuple[dict[str, str], ...]] = {}

    def set(self, source: str, findings: Iterable[dict[str, Any]]) -> None:
        """Replace what a source has found."""
        self._by_source[source] = tuple(
            {name: self._redact(str(finding.get(name) or ""))[:LONGEST] for name in FIELDS} for finding in findings
        )

    def add(self, source: str, name: str, message: str, remedy: str) -> None:
        """Add a warning of a source."""
        known = self._by_source.get(source, ())
        self.set(source, [*known, {"name": name, "status": "warning", "message": message, "remedy": remedy}])

    def told(self) -> dict[str, Any]:
        """Return {findings: [{name, status, message, remedy}]} for heartbeats; empty when nothing is wrong."""
        findings = [finding for source in list(self._by_source.values()) for finding in source]
        findings.sort(key=lambda finding: finding["status"] != "fail")
        return {"findings": findings[:MOST]} if findings else {}


async def watch(settings: Settings, polled: asyncio.Event, findings: HostFindings, changed: Callable[[], None]) -> None:
    """Examine the host until cancelled; an examination that fails is logged, and never ends the worker."""
    asked = json.dumps(_asked(settings))
    await polled.wait()
    await asyncio.sleep(AFTER)
    while True:
        report = await asyncio.to_thread(_examine, asked)
        if report is not None:
            before = findings.told()
            findings.set("host", report)
            if findings.told() != before:
                changed()
        await asyncio.sleep(EVERY)


def _asked(settings: Settings) -> dict[str, Any]:
    try:
        home = Path("~/.kubiya").expanduser()
    except RuntimeError:  # a user without a home
        home = Path.cwd()
    folders = {name: str(folder) for name, folder in settings.written_folders(here=True).items()}
    return {"home": str(home), "folders": folders, "confinement": settings.confinement}


def _examine(asked: str) -> list[dict[str, Any]] | None:
    """Return what is wrong with the host; None when it cannot be examined."""
    environment = {name: value for name, value in os.environ.items() if name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}
    try:
        program = subprocess.run(
            [sys.executable, "-m", PROGRAM],
            input=asked,
            env=environment,
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=True,
        )
        findings = json.loads(program.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        log.debug("self_check.failed", error=f"{type(error).__name__}: {error}")
        return None
    return [finding for finding in findings if isinstance(finding, dict)]
