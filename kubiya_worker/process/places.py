"""The folders of a worker's queue: each queue of each control plane has its own."""

from __future__ import annotations

from pathlib import Path

from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.control_plane.spool import Spool, lane_of
from kubiya_worker.settings import Settings


def spool_of(settings: Settings, registration: Registration) -> Spool:
    """Return the store for events while the control plane cannot be reached.

    Each queue has its own, as it has its own keys.
    """
    lane = lane_of(settings.control_plane_url, registration.queue_id or registration.task_queue_name)
    return Spool(settings.spool_root / lane, settings.spool_max_bytes)


def long_commands_of(settings: Settings, registration: Registration) -> Path:
    """Return the folder of commands that outlive a worker; each queue of each control plane has its own."""
    lane = lane_of(settings.control_plane_url, registration.queue_id or registration.task_queue_name)
    return settings.long_commands_root / lane
