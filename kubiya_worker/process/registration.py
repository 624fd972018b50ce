"""This module registers with the control plane: it retries while nobody answers, and gives up when the answer is no."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Final

import structlog

from kubiya_worker import __version__
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.errors import Refused, Unauthorized, Unreachable, create_queue
from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.errors import ConfigurationError, NotAllowed
from kubiya_worker.process import host
from kubiya_worker.process.backoff import Backoff
from kubiya_worker.settings import Settings

log = structlog.get_logger()

LONGEST_WAIT: Final = 300.0  # the longest wait in seconds, whatever Retry-After says


class StoppedEarly(Exception):
    """The worker was stopped before it was registered."""


def register(settings: Settings, control_plane: ControlPlane, stopping: threading.Event) -> Registration:
    """Block until the worker is registered; raise NotAllowed (77), ConfigurationError (78) or StoppedEarly."""
    backoff = Backoff(first=0.5, longest=30.0)
    while not stopping.is_set():
        try:
            registration = control_plane.start_worker(
                settings.queue_id,
                sdk_version=__version__,
                system_info=host.description(settings.worker_hostname),
                worker_id=settings.worker_id,
            )
            if settings.worker_id and registration.worker_id != settings.worker_id:
                log.warning("worker.id_not_given", asked=settings.worker_id, given=registration.worker_id)
            queue = registration.task_queue_name
            return replace(registration, task_queue_name=settings.task_queue or queue, work_queue=queue)
        except Unauthorized as error:
            raise NotAllowed(
                f"The control plane at {control_plane.base_url} refuses the API key: {error.message}",
                remedy="Check KUBIYA_API_KEY: kubiya doctor tries it",
            ) from error
        except Refused as error:
            control_plane.refuse_other_servers(error)
            if error.status == 404:
                raise ConfigurationError(
                    f"The queue {settings.queue_id!r} is not known to {control_plane.base_url}",
                    remedy=create_queue(settings.queue_id),
                ) from error
            raise ConfigurationError(error.message, remedy=error.remedy) from error
        except Unreachable as error:
            if error.status is not None:
                control_plane.refuse_other_servers(error)
            delay = backoff.next(at_least=min(error.retry_after or 0.0, LONGEST_WAIT))
            log.warning("worker.registration_failed", error=error.message, retry_in=f"{delay:.1f}s")
            stopping.wait(delay)
    raise StoppedEarly
