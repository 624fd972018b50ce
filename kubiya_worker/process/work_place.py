"""This module compares where a worker polls with where the control plane sends its work.

Settings of the worker may point it to another queue, namespace or server. It then polls and gets nothing.
"""

from __future__ import annotations

from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.settings import Settings

Difference = tuple[str, str]  # what differs, and what to do


def differences(settings: Settings, registration: Registration, cluster: str) -> list[Difference]:
    """Return the settings by which this worker polls elsewhere than its queue's work is sent, each with a remedy.

    `registration` is the control plane's reply, `cluster` the server's own id. Servers are
    compared by their ids, and only where both are known.
    """
    differing: list[Difference] = []
    queue = registration.work_queue or registration.task_queue_name
    if settings.task_queue and settings.task_queue != queue:
        description = f"this worker polls the queue {settings.task_queue!r}, and work is sent to {queue!r}"
        differing.append((description, "Unset TEMPORAL_TASK_QUEUE, unless other programs send work to it"))
    if settings.temporal_namespace and settings.temporal_namespace != registration.temporal_namespace:
        description = f"this worker polls the namespace {settings.temporal_namespace!r}, and work is sent to "
        differing.append((f"{description}{registration.temporal_namespace!r}", "Unset TEMPORAL_NAMESPACE"))
    if settings.temporal_host and cluster and registration.temporal_cluster_id not in ("", cluster):
        description = f"this worker polls Temporal at {settings.temporal_host}, and work is sent to another one, at "
        remedy = "Unset TEMPORAL_HOST, or set it to an address of that server"
        differing.append((f"{description}{registration.temporal_host}", remedy))
    return differing
