"""This module names what the process has made ready before a worker's life begins; it is handed on as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.payloads.converter import Payloads
from kubiya_worker.process.logging import RecentLines
from kubiya_worker.process.redaction import ProcessRedactor
from kubiya_worker.settings import Settings


@dataclass(frozen=True)
class WorkerSetup:
    """The setup of a worker: its settings, its control plane, and what it needs to write without secrets."""

    settings: Settings
    control_plane: ControlPlane
    payloads: Payloads
    redact: ProcessRedactor
    recent: RecentLines  # of the log, for heartbeats
    variables: Mapping[str, str] = field(repr=False)  # of the process, the sealed ones among them
    began: float  # seconds on the monotonic clock: when the process was started
