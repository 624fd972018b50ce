"""This module has the calls for the stop of all agents."""

from __future__ import annotations

from typing import Any

from kubiya_worker.cli.connection import Api


class StopApi:
    """The calls of a person's commands for the stop of all agents."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def state(self) -> dict[str, Any]:
        """Return the stop of all agents: {stopped, by, reason, at, paused}."""
        return self._api.object("GET", "/stop")

    def stop(self, why: str) -> dict[str, Any]:
        """Stop all agents; one that was stopped before keeps its first reason."""
        return self._api.object("POST", "/stop", {"reason": why})

    def lift(self) -> dict[str, Any]:
        """Lift the stop: {stopped: false, resumed: a number of executions}."""
        return self._api.object("DELETE", "/stop")
