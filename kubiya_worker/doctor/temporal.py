"""Check registration, connection to Temporal and a real poll, as the worker does them; then disconnect."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Final

from kubiya_worker import __version__
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.doctor.check import FAIL, PASS, WARN, Finding
from kubiya_worker.errors import WorkerError
from kubiya_worker.settings import Settings

SECONDS: Final = 8.0  # for the connection
REFUSED_WITHIN: Final = 0.5  # seconds: a poll that was not refused by then is waiting for work


class Probe:
    """Keeps the registration between the checks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._control_plane = ControlPlane(settings.control_plane_url, settings.api_key, read_timeout=10.0)
        self.registration: Registration | None = None

    def register(self) -> Finding:
        self.registration = self._control_plane.start_worker(
            self._settings.queue_id, sdk_version=__version__, system_info={"hostname": self._settings.worker_hostname}
        )
        return Finding(PASS, f"as worker {self.registration.worker_id}; it was disconnected again")

    def close(self) -> None:
        if self.registration is not None:
            try:
                self._control_plane.disconnect(self.registration.worker_id, reason="doctor", exit_code=0)
            except WorkerError:
                pass  # the control plane forgets this worker after 150 s
        self._control_plane.close()

    def temporal(self) -> Finding:
        assert self.registration is not None
        from kubiya_worker.process.temporal import innermost, tls_of
        from kubiya_worker.temporal_connection.faults import examine
        from kubiya_worker.temporal_connection.options import tunnel_to
        from kubiya_worker.temporal_connection.security import address_of

        address = address_of(self._settings.temporal_host or self.registration.temporal_host)
        host, _, port = address.rpartition(":")
        try:
            return asyncio.run(asyncio.wait_for(self._poll(address, self.registration), SECONDS))
        except TimeoutError:
            reason = f"no answer within {SECONDS:g} s"
        except RuntimeError as error:  # the SDK's core reports a failed connection this way
            reason = innermost(str(error))
        tls = tls_of(self._settings, address, self.registration)
        fault = examine(address, tls, tunnel_to(address, tls=bool(tls)))
        if fault is not None:
            return Finding(FAIL, fault.message, fault.remedy)
        return Finding(FAIL, f"{address} cannot be reached: {reason}", f"nc -vz {host} {port}")

    async def _poll(self, address: str, registration: Registration) -> Finding:
        """Poll a queue that nobody else uses, so that no work is taken."""
        from temporalio.api.taskqueue.v1 import TaskQueue
        from temporalio.api.workflowservice.v1 import PollActivityTaskQueueRequest
        from temporalio.client import Client
        from temporalio.service import RPCError

        from kubiya_worker.process.temporal import runtime, tls_of
        from kubiya_worker.process.work_place import differences
        from kubiya_worker.temporal_connection.cluster import cluster_id
        from kubiya_worker.temporal_connection.options import arguments, tunnel_to

        namespace = self._settings.temporal_namespace or registration.temporal_namespace
        tls = tls_of(self._settings, address, registration)
        client = await Client.connect(
            address,
            namespace=namespace,
            runtime=runtime(),  # a runtime that writes no log lines into the report
            **arguments(tls, tunnel_to(address, tls=bool(tls)), registration.temporal_api_key),
        )
        request = PollActivityTaskQueueRequest(
            namespace=namespace, task_queue=TaskQueue(name=f"kubiya-doctor-{uuid.uuid4()}"), identity="kubiya-doctor"
        )
        polling = asyncio.ensure_future(
            client.workflow_service.poll_activity_task_queue(request, timeout=timedelta(seconds=10))
        )
        await asyncio.wait({polling}, timeout=REFUSED_WITHIN)
        if polling.done() and isinstance(error := polling.exception(), RPCError):
            return Finding(FAIL, f"{address} refuses a poll: {error.message}", "Check its namespace and API key")
        polling.cancel()  # not refused: the poll waits for a task, so it works
        elsewhere = differences(self._settings, registration, await cluster_id(client))
        if elsewhere:
            return Finding(WARN, "; ".join(text for text, _ in elsewhere), "; ".join(do for _, do in elsewhere))
        return Finding(PASS, f"{address}, namespace {namespace}: connected, polled")
