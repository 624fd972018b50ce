"""This module has the calls for agents, teams and environments."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from kubiya_worker.cli import choice
from kubiya_worker.cli.connection import Api


class AgentApi:
    """The calls of a person's commands for agents, teams and environments."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def find(self, kind: str, name: str) -> dict[str, Any]:
        """Find an agent or a team (`kind`) by id or name. Raises UsageError, which lists the known ones."""
        return choice.choose(kind, name, self._api.objects(f"/{kind}s"))

    def find_any(self, key: str) -> dict[str, Any]:
        """Find an agent or a team by id, name, or the beginning of one of them. Raises UsageError."""
        return choice.choose("agent or team", key, [*self.agents(), *self.teams()])

    def agents(self) -> list[dict[str, Any]]:
        """Return all agents."""
        return self._api.objects("/agents")

    def teams(self) -> list[dict[str, Any]]:
        """Return all teams; none where this key or this control plane has no such list."""
        return self._api.objects_or_none("/teams")

    def environments(self) -> list[dict[str, Any]]:
        """Return all environments; none where this key or this control plane has no such list."""
        return self._api.objects_or_none("/environments")

    def environment_of(self, kind: str, entity_id: str) -> dict[str, Any]:
        """Return the variables and MCP servers of an agent or a team."""
        environment = self._api.ask("GET", f"/execution-environment/{kind}s/{quote(entity_id, safe='')}/resolved/full")
        return dict(environment) if isinstance(environment, dict) else {}
