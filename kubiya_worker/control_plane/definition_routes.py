"""The control plane's routes about agents, teams and skills. Each method raises ControlPlaneError."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from kubiya_worker.control_plane import lenient
from kubiya_worker.control_plane.answers import Answers


class DefinitionRoutes:
    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def agent(self, agent_id: str) -> dict[str, Any]:
        """Return an agent; an empty object when there is none."""
        return dict(self._answers.optional(f"/agents/{quote(agent_id, safe='')}", {}))

    def team(self, team_id: str) -> dict[str, Any]:
        return dict(self._answers.optional(f"/teams/{quote(team_id, safe='')}", {}))

    def find(self, kind: str, key: str) -> dict[str, Any]:
        """Find an agent or a team by id or by name, and return it; an empty object when there is none.

        Not every control plane accepts a name in place of an id; then the list of all is searched.
        """
        path = f"/{kind}s"
        entity = dict(self._answers.optional(f"{path}/{quote(key, safe='')}", {}))
        if entity:
            return entity
        entities = self._answers.optional(path, [])
        namesakes = (x for x in lenient.only_objects(entities) if str(x.get("name") or "").lower() == key.lower())
        return dict(next(namesakes, {}))

    def skill(self, skill_id: str) -> dict[str, Any]:
        return self._answers.object("GET", f"/skills/{quote(skill_id, safe='')}")
