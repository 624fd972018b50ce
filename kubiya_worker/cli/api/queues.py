"""This module has the calls for worker queues."""

from __future__ import annotations

from typing import Any

from kubiya_worker.cli import choice
from kubiya_worker.cli.connection import Api


class QueuesApi:
    """The calls of a person's commands for worker queues."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def find(self, key: str) -> dict[str, Any]:
        """Find a queue by id, name, or the beginning of one of them. Raises UsageError, which lists the known ones."""
        return choice.choose("queue", key, self._api.objects("/worker-queues"))
