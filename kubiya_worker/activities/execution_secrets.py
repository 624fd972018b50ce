"""The secrets that an execution's definition references: asked of the control plane at their use, kept in memory.

A value counts for FRESH seconds. While the control plane is away, the last known value holds; once it says that a
secret is gone, it is. Values are never part of a workflow's history: what a history holds is `{{.secret.NAME}}`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from temporalio import activity

from kubiya_worker import templates
from kubiya_worker.activities.known_secrets import KnownSecrets
from kubiya_worker.control_plane.errors import ControlPlaneError
from kubiya_worker.protocol import calls, names

if TYPE_CHECKING:
    from kubiya_worker.activities.runtime import Runtime

FRESH: Final = 20.0  # seconds


async def secrets_for(runtime: Runtime, execution_id: str, context: calls.Context, *settings: Any) -> dict[str, str]:
    """Return the secrets that the texts in `settings` reference.

    A secret that cannot be had is left out, with a line in the log.
    """
    wanted = set[str]().union(*map(templates.secrets_in, settings))
    if not wanted or names.FEATURE_SECRETS not in runtime.control_plane.features:
        return {}
    known = runtime.memory.secrets_known.get(execution_id)
    if known is None:
        known = KnownSecrets()
        runtime.memory.secrets_known.put(execution_id, known)
    now = time.monotonic()
    stale = sorted(name for name in wanted if name not in known.values or now - known.values[name][1] > FRESH)
    if stale:
        await _ask(runtime, execution_id, context, stale, known)
    return {name: known.values[name][0] for name in sorted(wanted) if name in known.values}


async def _ask(
    runtime: Runtime, execution_id: str, context: calls.Context, wanted: list[str], known: KnownSecrets
) -> None:
    began = time.monotonic()
    question = {
        "worker_id": runtime.worker_id,
        "execution_id": context.member.stream if context.member else execution_id,
        "kind": context.kind,
        "entity_id": context.agent_id,
        "names": wanted,
    }
    try:
        answer = await asyncio.to_thread(runtime.control_plane.secrets, question)
    except ControlPlaneError as error:
        activity.logger.warning("secrets.unavailable names=%s: %s", ",".join(wanted), error)
        if error.outage:
            return
        answer = {}
    values = answer.get("values") or {}
    for name in wanted:
        if isinstance(values.get(name), str):
            known.values[name] = (values[name], began)
        elif known.values.pop(name, None) is not None or answer:
            why = (answer.get("missing") or {}).get(name) or "the control plane does not give it"
            activity.logger.warning("secret.missing name=%s: %s", name, why)
    fresh = {value for value, _ in known.values.values()} - known.seen
    if fresh:
        known.seen |= fresh
        runtime.memory.redactors.forget(execution_id)  # the next one hides them, too


def seen(runtime: Runtime, execution_id: str) -> set[str]:
    """Return all values that the execution has got, also those that were replaced since."""
    known = runtime.memory.secrets_known.get(execution_id)
    return known.seen if known is not None else set()


def filled(variables: Mapping[str, str], secrets: Mapping[str, str]) -> dict[str, str]:
    """Return variables with their secrets; one whose secret cannot be had is left out, as its template is no value."""
    resolved: dict[str, str] = {}
    for name, value in variables.items():
        needed = templates.secrets_in(value)
        if not needed:
            resolved[name] = value
        elif needed <= secrets.keys():
            resolved[name] = templates.resolve(value, {}, f"the variable {name}", secrets)
    return resolved
