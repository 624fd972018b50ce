"""This module serves a worker's metrics and health over HTTP when a port is set."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from kubiya_worker.control_plane.client import ControlPlane, Registration
from kubiya_worker.process import metrics
from kubiya_worker.process.counters import Counters
from kubiya_worker.process.waiting import Waiting
from kubiya_worker.settings import Settings

if TYPE_CHECKING:
    from kubiya_worker.process.endpoint import Endpoint

EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a client finds it


class Monitor:
    """The HTTP side of a worker; `meter` is the interceptor that measures steps, `sdk_port` serves Temporal's own
    metrics.

    It listens as soon as it is made: a worker is alive while the control plane is away, and reports that it is not
    ready.
    """

    def __init__(self, settings: Settings, counters: Counters, condition: Callable[[], Mapping[str, Any]]) -> None:
        """Take `condition`, the state before the registration; raise ConfigurationError when the port cannot be
        opened.
        """
        self._measured = measured = metrics.Metrics()
        self._condition, self._about = condition, (settings.queue_id, "")
        self.meter = metrics.Meter(measured)
        self.sdk_port: int | None = None
        self._endpoint: Endpoint | None = None
        self._waiting: Waiting | None = None
        self._host = settings.metrics_host
        if settings.metrics_port is None:
            return
        # Import here: a worker without a port does not load this module.
        from kubiya_worker.process.endpoint import Endpoint, free_port, scraped

        self.sdk_port = free_port()
        slots = settings.max_concurrent_activities

        def own() -> str:
            return metrics.exposition(measured, counters, self._now, slots, self._about, settings.supervisor_state)

        sdk = functools.partial(scraped, f"http://127.0.0.1:{self.sdk_port}/metrics")
        self._endpoint = Endpoint(settings.metrics_host, settings.metrics_port, self._now, [own, sdk])

    def registered(
        self, registration: Registration, control_plane: ControlPlane, condition: Callable[[], Mapping[str, Any]]
    ) -> None:
        """Report `condition` from now on, with the queue's name and the worker's id."""
        queue = registration.queue_name or self._about[0]
        self._condition, self._about = condition, (queue, registration.worker_id)
        if self._endpoint is not None:
            self._waiting = Waiting(
                control_plane,
                registration.queue_id or queue,
                lambda number: self._measured.show("approvals_waiting", number, queue),
            )

    def _now(self) -> Mapping[str, Any]:
        return self._condition()

    @property
    def url(self) -> str | None:
        """Return the URL of /metrics for this host, or None without a port."""
        if self._endpoint is None:
            return None
        host = EVERYWHERE.get(self._host, self._host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._endpoint.port}/metrics"

    def close(self) -> None:
        if self._waiting is not None:
            self._waiting.close()
        if self._endpoint is not None:
            self._endpoint.close()
