"""This module has the calls for secrets."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from kubiya_worker.cli.connection import Api


class SecretsApi:
    """The calls of a person's commands for secrets."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def all(self) -> list[dict[str, Any]]:
        """Return the secrets without their values."""
        return self._api.objects("/secrets")

    def set(self, name: str, body: dict[str, str]) -> dict[str, Any]:
        """Set a secret's {value} or {source}."""
        return self._api.object("PUT", f"/secrets/{quote(name, safe='')}", body)

    def remove(self, name: str) -> None:
        self._api.ask("DELETE", f"/secrets/{quote(name, safe='')}")
