"""This module has the calls for jobs."""

from __future__ import annotations

from typing import Any

from kubiya_worker.cli import choice
from kubiya_worker.cli.connection import Api


class JobsApi:
    """The calls of a person's commands for jobs."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def all(self) -> list[dict[str, Any]]:
        return self._api.objects("/jobs")

    def find(self, key: str) -> dict[str, Any]:
        """Find a job by id, name, or the first characters of an id. Raises UsageError, which lists the known ones."""
        return choice.choose("job", key, self.all())

    def get(self, job_id: str) -> dict[str, Any]:
        return self._api.object("GET", f"/jobs/{job_id}")

    def executions(self, job_id: str) -> list[dict[str, Any]]:
        return self._api.objects(f"/jobs/{job_id}/executions?limit=10")

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._api.object("POST", "/jobs", body)

    def trigger(self, job_id: str, parameters: dict[str, Any]) -> dict[str, Any]:
        return self._api.object("POST", f"/jobs/{job_id}/trigger", {"parameters": parameters})

    def switch(self, job_id: str, word: str) -> None:
        """Enable or disable a job; `word` is one of these two words."""
        self._api.ask("POST", f"/jobs/{job_id}/{word}", {})

    def delete(self, job_id: str) -> None:
        self._api.ask("DELETE", f"/jobs/{job_id}")
