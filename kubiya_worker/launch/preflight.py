"""Checks before anything is started: the key, the queue, the control plane. Registers nothing."""

from __future__ import annotations

import os

from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.errors import Refused, Unauthorized, Unreachable, create_queue
from kubiya_worker.errors import ConfigurationError, NotAllowed, Unavailable
from kubiya_worker.launch.queue import Queue
from kubiya_worker.models import compatibility, routes
from kubiya_worker.payloads.converter import Payloads
from kubiya_worker.settings import Settings
from kubiya_worker.tools.policy import rules_file

NOT_A_QUEUE = (400, 404, 422)  # 422: a server that accepts only ids answers so to a name


def check(settings: Settings) -> Queue:
    """Check files, key and queue. Return the queue.

    Raises NotAllowed (77), Unavailable (69), ConfigurationError (78: no such queue, not active, a file is wrong).
    """
    Payloads.open(settings.payloads)
    rules_file.read(settings.policy_file)
    if settings.enable_local_proxy:
        routes.read(settings.proxy_config_file, settings.proxy_config_json, os.environ)
    compatibility.load(settings.model_compatibility, os.environ)
    control_plane = ControlPlane(settings.control_plane_url, settings.api_key, read_timeout=10.0)
    try:
        return _read(control_plane.queues.get(settings.queue_id), settings)
    except Unauthorized as error:
        raise NotAllowed(
            f"The control plane at {settings.control_plane_url} refuses the API key",
            remedy="Check KUBIYA_API_KEY: kubiya doctor tries it",
        ) from error
    except Unreachable as error:
        raise Unavailable(error.message, remedy="Check CONTROL_PLANE_GATEWAY_URL and the network") from error
    except Refused as error:
        control_plane.refuse_other_servers(error)
        if error.status in NOT_A_QUEUE:
            raise ConfigurationError(
                f"The queue {settings.queue_id!r} is not known to {settings.control_plane_url}",
                remedy=create_queue(settings.queue_id),
            ) from error
        if error.status in (405, 501):
            return Queue()  # a server without this route: the worker's registration will check the queue
        raise ConfigurationError(error.message, remedy=error.remedy) from error
    finally:
        control_plane.close()


def _read(answer: dict[str, object], settings: Settings) -> Queue:
    status = str(answer.get("status") or "active").lower()
    if status != "active":
        raise ConfigurationError(
            f"The queue {settings.queue_id!r} is {status}, not active", remedy="Activate it on the control plane"
        )
    queue = Queue(str(answer.get("id") or ""), str(answer.get("name") or ""))
    if not queue.id and not queue.name:
        raise ConfigurationError(
            f"{settings.control_plane_url} answered without a queue", remedy="Is this URL a Kubiya control plane?"
        )
    return queue
