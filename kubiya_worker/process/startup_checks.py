"""This module checks a worker once after its first poll; it never delays the start, and logs only what is wrong.

The registration has already checked the key, the queue and the way to both.
"""

from __future__ import annotations

import asyncio
import difflib
import fnmatch
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import structlog

from kubiya_worker import readiness_socket, trust
from kubiya_worker.control_plane.client import ControlPlane
from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.models import Endpoint, listing
from kubiya_worker.models.choice import split
from kubiya_worker.models.connection import GATEWAY
from kubiya_worker.process.assembly import endpoint_of, routes_of
from kubiya_worker.process.self_check import HostFindings
from kubiya_worker.protocol.names import DEMO_MODEL
from kubiya_worker.settings import Settings

log = structlog.get_logger()

SKEW: Final = 5.0  # seconds; `kubiya doctor` uses the same limit


async def check(
    settings: Settings,
    registration: Registration,
    control_plane: ControlPlane,
    polled: asyncio.Event,
    variables: Mapping[str, str],
    findings: HostFindings,
) -> None:
    """Wait for the first poll, then check; a failed check never ends the worker. What is wrong is a finding too."""
    await polled.wait()
    if settings.readiness_socket:
        await asyncio.to_thread(_report_ready, settings.readiness_socket, settings)
    skew = control_plane.skew
    if skew is not None and abs(skew) > SKEW:
        way = "ahead of" if skew > 0 else "behind"
        by, remedy = f"{abs(skew):.0f}s {way} the control plane", "timedatectl set-ntp true"
        log.warning("clock.skewed", by=by, remedy=remedy)
        findings.add("start", "clock", f"this host's clock is {by}", remedy)
    if settings.model_override and not settings.skip_model_validation:
        routes = routes_of(settings, variables)
        if routes:
            _compare(settings.model_override, routes, findings)
        else:
            await asyncio.to_thread(_look_up, settings.model_override, endpoint_of(settings, registration), findings)


def _report_ready(path: str, settings: Settings) -> None:
    line = readiness_socket.line(os.getpid(), settings.queue_id, settings.control_plane_url, str(Path.cwd()))
    try:
        readiness_socket.send(path, line)
    except OSError as error:
        log.warning("readiness.not_told", socket=path, error=error.strerror or str(error))


def _look_up(model: str, endpoint: Endpoint, findings: HostFindings) -> None:
    """Warn when the endpoint does not list the model that serves every agent; an endpoint without a list is
    accepted.
    """
    if not endpoint.base_url or split(model)[0] != GATEWAY or model == DEMO_MODEL:
        return
    server = listing.ListedEndpoint(endpoint.base_url, endpoint.base_url, endpoint.api_key)
    answer = listing.ask(server, verify=trust.bundle(os.environ) or True)
    if answer.fault is not None:
        log.debug("model.not_listed", error=str(answer.fault))
    elif len(answer.models) < listing.MOST_MODELS:  # a longer list was cut, and the model may be in the rest
        _compare(model, [listed_model.name for listed_model in answer.models], findings)


def _compare(model: str, known: Iterable[str], findings: HostFindings) -> None:
    known = list(known)
    if split(model)[0] == GATEWAY and model != DEMO_MODEL and not listed(model, known):
        near = difflib.get_close_matches(model, known, 1)
        remedy = "Check --model, or start with --skip-model-validation"
        log.warning("model.unknown", model=model, near=near[0] if near else "", remedy=remedy)
        meant = f"; did you mean {near[0]}?" if near else ""
        findings.add("start", "model", f"the model endpoint does not list {model}{meant}", remedy)


def listed(name: str, known: Iterable[str]) -> bool:
    """Return whether a list contains the name; lists may hold patterns (`openai/*`), and an empty list accepts
    all. Pure.
    """
    patterns = list(known)
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
