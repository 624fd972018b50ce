"""This module has the calls for API keys."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from kubiya_worker.cli.connection import Api


class KeysApi:
    """The calls of a person's commands for API keys."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def all(self) -> list[dict[str, Any]]:
        return self._api.objects("/keys")

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the new key with what is known of it; no other answer ever has `key`."""
        return self._api.object("POST", "/keys", body)

    def change(self, key_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Change what the body names, with null for no limit or no end; return what is known of the key."""
        return self._api.object("PATCH", f"/keys/{quote(key_id, safe='')}", body)

    def revoke(self, key_id: str) -> dict[str, Any]:
        return self._api.object("DELETE", f"/keys/{quote(key_id, safe='')}")
