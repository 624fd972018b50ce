"""This module names what the parts of a registered worker share; it is handed on as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.control_plane.spool import Spool
from kubiya_worker.process.counters import ActivityCounters
from kubiya_worker.process.grace_expiry import GraceExpiry
from kubiya_worker.process.metrics_server import Monitor
from kubiya_worker.process.self_check import HostFindings
from kubiya_worker.process.stop import Stop
from kubiya_worker.process.wishes import Wishes
from kubiya_worker.process.worker_setup import WorkerSetup
from kubiya_worker.process.worker_state import WorkerState
from kubiya_worker.settings import Settings


@dataclass(frozen=True)
class Gauges:
    """The gauges measure a worker from its start on."""

    counters: ActivityCounters
    grace_expiry: GraceExpiry
    monitor: Monitor

    def tasks(self) -> dict[str, Any]:
        """Return the steps that run and that ran, for the status file."""
        counts = self.counters.counts()
        return {
            "active_tasks": counts.active,
            "completed_tasks": counts.completed,
            "failed_tasks": counts.failed,
            "current_task": self.counters.current(),
            "cut_tasks": self.grace_expiry.steps,
        }


@dataclass(frozen=True)
class LiveWorker:
    """A worker from its registration on: its setup, what the control plane answered, and what its parts note."""

    setup: WorkerSetup
    stop: Stop
    registration: Registration
    gauges: Gauges
    state: WorkerState
    spool: Spool
    wishes: Wishes
    findings: HostFindings

    @property
    def settings(self) -> Settings:
        return self.setup.settings

    @property
    def identity(self) -> str:
        """Return the name by which Temporal knows this worker."""
        return f"{self.registration.worker_id}@{self.settings.worker_hostname}"

    @property
    def queue_id(self) -> str:
        return self.registration.queue_id or self.settings.queue_id
