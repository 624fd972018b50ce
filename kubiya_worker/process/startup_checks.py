"""This module checks a worker once after its first poll; it never delays the start, and logs only what is wrong.

The registration has already checked the key, the queue and the way to both.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from kubiya_worker import readiness_socket
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.process.self_check import HostFindings
from kubiya_worker.settings import Settings

log = structlog.get_logger()

SKEW: Final = 5.0  # seconds; `kubiya doctor` uses the same limit


async def check(
    settings: Settings,
    registration: Registration,
    control_plane: ControlPlane,
    polled: asyncio.Event,
    variables: Mapping[str, str],
    findings: HostFindings,
) -> None:
    """Wait for the first poll, then check; a failed check never ends the worker. What is wrong is a finding too."""
    await polled.wait()
    if settings.readiness_socket:
        await asyncio.to_thread(_report_ready, settings.readiness_socket, settings)
    skew = control_plane.skew
    if skew is not None and abs(skew) > SKEW:
        direction = "ahead of" if skew > 0 else "behind"
        by, remedy = f"{abs(skew):.0f}s {direction} the control plane", "timedatectl set-ntp true"
        log.warning("clock.skewed", by=by, remedy=remedy)
        findings.add("start", "clock", f"this host's clock is {by}", remedy)
    if settings.model_override and not settings.skip_model_validation:
        from kubiya_worker.process import model_check  # most workers do not need it

        await model_check.check(settings.model_override, settings, registration, variables, findings)


def _report_ready(path: str, settings: Settings) -> None:
    line = readiness_socket.line(os.getpid(), settings.queue_id, settings.control_plane_url, str(Path.cwd()))
    try:
        readiness_socket.send(path, line)
    except OSError as error:
        log.warning("readiness.not_told", socket=path, error=error.strerror or str(error))
