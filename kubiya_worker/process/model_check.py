"""This module checks that the model which serves every agent of a worker is one that its endpoint lists."""

from __future__ import annotations

import asyncio
import difflib
import fnmatch
import os
from collections.abc import Iterable, Mapping

import structlog

from kubiya_worker import trust
from kubiya_worker.control_plane.registration import Registration
from kubiya_worker.models import Endpoint, listing
from kubiya_worker.models.choice import split
from kubiya_worker.models.connection import GATEWAY
from kubiya_worker.process.model_endpoints import endpoint_of, routes_of
from kubiya_worker.process.self_check import HostFindings
from kubiya_worker.protocol.names import DEMO_MODEL
from kubiya_worker.settings import Settings

log = structlog.get_logger()


async def check(
    model: str, settings: Settings, registration: Registration, variables: Mapping[str, str], findings: HostFindings
) -> None:
    """Look for the model where this worker's models come from. What is wrong is logged, and a finding."""
    routes = routes_of(settings, variables)
    if routes:
        _compare(model, routes, findings)
    else:
        await asyncio.to_thread(_look_up, model, endpoint_of(settings, registration), findings)


def _look_up(model: str, endpoint: Endpoint, findings: HostFindings) -> None:
    """Warn when the endpoint does not list the model that serves every agent.

    An endpoint without a list is accepted.
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
    """Return whether a list contains the name.

    Lists may hold patterns (`openai/*`), and an empty list accepts all. Pure.
    """
    patterns = list(known)
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
