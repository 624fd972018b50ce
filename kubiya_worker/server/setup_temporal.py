"""This module is `kubiya server setup-temporal`: it adds our search attributes to a namespace."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from kubiya_worker.errors import NotAllowed, Unavailable
from kubiya_worker.protocol import search
from kubiya_worker.server import search_attributes, temporal_access
from kubiya_worker.server.secret_variables import secret_of
from kubiya_worker.server.temporal import Temporal, TemporalDown

BY_HAND: Final = "temporal operator search-attribute create --namespace {namespace} --type Keyword " + " ".join(
    f"--name {name}" for name in search.ALL
)
CLOUD: Final = "Temporal Cloud has them in the namespace's page (Search attributes, type Keyword), or with tcld"


def set_up(address: str, namespace: str) -> list[str]:
    """Add the attributes, and return lines for a person. Raises WorkerError, with the way to do it by hand."""
    access = temporal_access.of_environment(os.environ, address, namespace, "", secret_of)
    return asyncio.run(_set_up(Temporal(access)))


async def _set_up(temporal: Temporal) -> list[str]:
    from temporalio.service import RPCError

    place = f"{temporal.access.namespace} at {temporal.access.address}"
    try:
        client = await temporal.client()
        added = await search_attributes.add(client)
    except TemporalDown as error:
        raise Unavailable(
            f"No search attribute was added: {error}", remedy="Check --temporal-address and --temporal-namespace"
        ) from error
    except RPCError as error:
        raise NotAllowed(
            f"Temporal does not let this key add search attributes to {place}: {error.message}",
            remedy=f"Let its operator run: {BY_HAND.format(namespace=temporal.access.namespace)}. {CLOUD}",
        ) from error
    lines = [f"added: {name} (Keyword)" for name in added]
    return [*lines, f"{place} has all {len(search.ALL)}; the control plane sets them within a minute"]
