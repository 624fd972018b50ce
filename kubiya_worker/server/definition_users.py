"""This module finds the definitions that name a skill, an MCP server or a model of the control plane."""

from __future__ import annotations

from collections.abc import Sequence

from kubiya_worker.server import shared_parts, stored_models
from kubiya_worker.server.store.records import Object
from kubiya_worker.server.stores import Stores

User = tuple[str, Object]  # (kind, definition)


def naming_part(stores: Stores, organization_id: str, kind: str, name: str) -> list[User]:
    """Return each agent, team and environment that names a skill or an MCP server."""
    kinds = {"agent": stores.agents, "team": stores.teams, "environment": stores.environments}
    definitions = ((of, each) for of, store in kinds.items() for each in store.list(organization_id))
    return [(of, each) for of, each in definitions if (kind, name) in shared_parts.named_in(each)]


def naming_model(stores: Stores, organization_id: str, name: str) -> list[User]:
    """Return each agent, team and job that names a model."""
    kinds = {"agent": stores.agents, "team": stores.teams, "job": stores.jobs}
    definitions = ((of, each) for of, store in kinds.items() for each in store.list(organization_id))
    return [(of, each) for of, each in definitions if name in stored_models.named_by(each)]


def shown_users(users: Sequence[User]) -> list[dict[str, str]]:
    """Return {kind, id, name} of each. Pure."""
    return [{"kind": of, "id": str(each["id"]), "name": str(each["name"])} for of, each in users]
