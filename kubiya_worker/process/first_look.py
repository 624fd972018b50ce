"""This module checks a worker once after its first poll; it never delays the start, and logs only what is wrong.

The registration has already checked the key, the queue and the way to both.
"""

from __future__ import annotations

import asyncio
import difflib
import fnmatch
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import requests
import structlog
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from kubiya_worker import ready_line, trust
from kubiya_worker.control_plane.client import ControlPlane, Registration
from kubiya_worker.models import Endpoint
from kubiya_worker.models.choice import split
from kubiya_worker.models.connection import GATEWAY
from kubiya_worker.process.assembly import endpoint_of, routes_of
from kubiya_worker.protocol.names import DEMO_MODEL
from kubiya_worker.settings import Settings

log = structlog.get_logger()

SKEW: Final = 5.0  # seconds; `kubiya doctor` uses the same limit
WITHIN: Final = 5.0  # seconds for the model endpoint's answer


async def look(
    settings: Settings, registration: Registration, control_plane: ControlPlane, polled: asyncio.Event
) -> None:
    """Wait for the first poll, then check; a failed check never ends the worker."""
    await polled.wait()
    if settings.readiness_socket:
        await asyncio.to_thread(_tell, settings.readiness_socket, settings)
    skew = control_plane.skew
    if skew is not None and abs(skew) > SKEW:
        way = "ahead of" if skew > 0 else "behind"
        log.warning("clock.skewed", by=f"{abs(skew):.0f}s {way} the control plane", remedy="timedatectl set-ntp true")
    if settings.model_override and not settings.skip_model_validation:
        routes = routes_of(settings)
        if routes:
            _compare(settings.model_override, routes)
        else:
            await asyncio.to_thread(_ask_for, settings.model_override, endpoint_of(settings, registration))


def _tell(path: str, settings: Settings) -> None:
    told = ready_line.line(os.getpid(), settings.queue_id, settings.control_plane_url, str(Path.cwd()))
    try:
        ready_line.send(path, told)
    except OSError as error:
        log.warning("readiness.not_told", socket=path, error=error.strerror or str(error))


def _ask_for(model: str, endpoint: Endpoint) -> None:
    """Warn when the endpoint does not list the model that serves every agent; an endpoint without a list is
    accepted.
    """
    if not endpoint.base_url or split(model)[0] != GATEWAY or model == DEMO_MODEL:
        return
    headers = {"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
    bundle = trust.bundle(os.environ) or DEFAULT_CA_BUNDLE_PATH
    try:
        reply = requests.get(f"{endpoint.base_url}/models", headers=headers, timeout=WITHIN, verify=bundle)
        rows = reply.json().get("data") if reply.status_code == 200 else None
        known = [str(row["id"]) for row in rows or () if isinstance(row, dict) and row.get("id")]
    except (requests.RequestException, ValueError, AttributeError) as error:
        log.debug("model.not_listed", error=type(error).__name__)
        return
    _compare(model, known)


def _compare(model: str, known: Iterable[str]) -> None:
    known = list(known)
    if split(model)[0] == GATEWAY and model != DEMO_MODEL and not listed(model, known):
        near = difflib.get_close_matches(model, known, 1)
        log.warning(
            "model.unknown",
            model=model,
            near=near[0] if near else "",
            remedy="Check --model, or start with --skip-model-validation",
        )


def listed(name: str, known: Iterable[str]) -> bool:
    """Return whether a list contains the name; lists may hold patterns (`openai/*`), and an empty list accepts
    all. Pure.
    """
    patterns = list(known)
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
