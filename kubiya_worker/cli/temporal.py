"""Temporal for a person's commands: connect to the server and the queue that a worker would get."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from kubiya_worker.errors import Unavailable, WorkerError
from kubiya_worker.settings import Settings

if TYPE_CHECKING:
    from temporalio.client import Client

CONNECT: Final = 15.0  # seconds


@asynccontextmanager
async def connected(settings: Settings, reason: str) -> AsyncIterator[tuple[Client, str]]:
    """Yield (client, task queue) for one command. At the end the control plane is told `reason`.

    Raises WorkerError when the control plane refuses, Unavailable when Temporal does not answer or a call fails.
    """
    from temporalio.service import RPCError

    from kubiya_worker import __version__
    from kubiya_worker.control_plane.client import ControlPlane
    from kubiya_worker.payloads.converter import Payloads
    from kubiya_worker.process import temporal

    payloads = Payloads.open(settings.payloads)
    control_plane = ControlPlane(settings.control_plane_url, settings.api_key, read_timeout=10.0)
    system_info: dict[str, Any] = {"hostname": settings.worker_hostname}
    registration = control_plane.start_worker(settings.queue_id, sdk_version=__version__, system_info=system_info)
    address = settings.temporal_host or registration.temporal_host
    try:
        try:
            connecting = temporal.connect(settings, registration, f"kubiya-{reason}", payloads)
            client = await asyncio.wait_for(connecting, CONNECT)
            yield client, settings.task_queue or registration.task_queue_name
        except TimeoutError:
            raise Unavailable(
                f"Temporal at {address} does not answer",
                remedy="Run kubiya doctor: it tries the address, TLS and the key",
            ) from None
        except RPCError as error:
            raise Unavailable(
                f"Temporal at {address} refuses: {error.message}",
                remedy="Run kubiya doctor: it tries the address, TLS and the key",
            ) from error
    finally:
        try:
            control_plane.disconnect(registration.worker_id, reason=reason, exit_code=0)
        except WorkerError:
            pass  # the control plane forgets this worker by itself
        control_plane.close()
