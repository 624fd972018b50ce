"""This module reads a queue's own settings for its workers (docs/protocol.md#a3): its models and the wanted version.

They are read while the worker connects to Temporal. A control plane that sends none, or invalid ones, does not delay
the start: the worker then uses the gateway of its registration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import structlog

from kubiya_worker import __version__
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.control_plane.queue_routes import QueueRoutes
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.protocol.model_entries import is_stored
from kubiya_worker.settings import Settings

if TYPE_CHECKING:
    from kubiya_worker.models.routes import Route, Routing

log = structlog.get_logger()

WHERE: Final = "the queue's litellm_config"
STORED_WHERE: Final = "the stored model"


def read(queues: QueueRoutes, queue_id: str) -> dict[str, Any]:
    """Return the queue's configuration; empty when the control plane gives none."""
    try:
        return queues.config(queue_id)
    except ControlPlaneError as error:
        log.debug("queue.not_read", error=error.message)
        return {}


def own_routes(settings: Settings, variables: Mapping[str, str]) -> dict[str, Route]:
    """Return the models of this host's own list, nothing without one. Raises ConfigurationError for a wrong list."""
    if not settings.enable_local_proxy:
        return {}
    from kubiya_worker.process.model_endpoints import routes_of  # a worker without a list does not wait for this import

    return routes_of(settings, variables)


def routing_of(
    config: dict[str, Any], settings: Settings, own: Mapping[str, Route], variables: Mapping[str, str]
) -> Routing | None:
    """Return the models with endpoints of their own, or None where there is no list.

    They are those of the host's list (`own`), else of the queue's own list, and those that the control plane stores for
    the queue. Where two have the same name, one of a list wins over a stored one. A stored model takes no other away:
    names that are in no list go to the worker's endpoint as ever.
    """
    values = config.get("settings")
    queue_settings = values if isinstance(values, dict) else {}
    document = queue_settings.get("litellm_config")
    document = document if isinstance(document, dict) else {}
    rows = document.get("model_list")
    rows = rows if isinstance(rows, list) else []
    if not own and not rows and queue_settings.get("enable_local_litellm_proxy") is not True:
        return None
    from kubiya_worker.models import routes  # a worker without a list does not wait for this import

    stored = routes.stored([row for row in rows if is_stored(row)], STORED_WHERE, variables)
    for name, route in stored.items():
        if route.fault:
            log.warning("queue.model_refused", model=name, error=route.fault[0], remedy=route.fault[1])
    queues_own = [row for row in rows if not is_stored(row)]
    listed = own or _listed({**document, "model_list": queues_own}, queue_settings, settings, bool(stored))
    if stored:
        log.info("queue.models", stored=", ".join(sorted(stored)))
    return routes.Routing({**stored, **listed}, only=bool(listed))


def _listed(
    document: dict[str, Any], queue_settings: dict[str, Any], settings: Settings, beside: bool
) -> dict[str, Route]:
    """Return the models of `enable_local_litellm_proxy`, unless this host has its own endpoint.

    No environment variable is filled in: otherwise a person who may edit a queue could send this host's secrets to an
    address of their own. `beside`: an empty list is no fault, as there are stored models.
    """
    has_own_endpoint = settings.litellm_api_base or settings.openai_base_url or settings.openai_api_key
    if has_own_endpoint or queue_settings.get("enable_local_litellm_proxy") is not True:
        return {}
    if beside and not document["model_list"]:
        return {}
    from kubiya_worker.models import routes

    try:
        return routes.parse(document, WHERE, {})
    except ConfigurationError as error:
        log.warning("queue.models_refused", error=error.line())
        return {}


def warn_if_outdated(config: dict[str, Any], features: frozenset[str]) -> None:
    """Log that the queue recommends a newer version; a worker does not update itself.

    `features` come from the registration. A control plane without them is another product's, and its recommendation is
    about that product's worker.
    """
    if not features:
        return
    recommended = config.get("recommended_package_version")
    if isinstance(recommended, str) and recommended and _numbers(recommended) > _numbers(__version__):
        log.warning("worker.outdated", runs=__version__, recommended=recommended, remedy="docs/upgrades.md")


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a release; ignore any suffix."""
    release = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, release[0].split("."))) if release else ()
