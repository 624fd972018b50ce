"""This module has the calls for definitions: the documents that agents, teams, rules and others are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from kubiya_worker.cli.connection import Api


class DefinitionsApi:
    """The calls of a person's commands for definitions."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def apply(
        self, documents: Sequence[Mapping[str, Any]], *, source: str, prune: bool = False, dry_run: bool = False
    ) -> list[dict[str, Any]]:
        """Make the definitions as the documents say, all or none; return each change {kind, name, action, differences}.

        Raises Refused, whose `problems` name the document and the field.
        """
        body = {"documents": list(documents), "source": source, "prune": prune, "dry_run": dry_run}
        return list(self._api.object("POST", "/definitions/apply", body)["changes"])

    def all(self, kind: str = "") -> list[dict[str, Any]]:
        """Return the stored definitions as documents {kind, name, spec}, of all kinds or of one."""
        return list(self._api.object("GET", f"/definitions?kind={quote(kind, safe='')}")["documents"])

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return self._api.object("GET", _path(kind, name))

    def delete(self, kind: str, name: str, *, force: bool = False) -> dict[str, Any]:
        """Delete an object; return the change. `force` ends or disables whoever needs it: `ended` lists them."""
        return self._api.object("DELETE", _path(kind, name) + ("?force=true" if force else ""))

    def history(self, kind: str, name: str) -> list[dict[str, Any]]:
        """Return the versions of a definition, newest first: {version, action, by, at, spec, differences}."""
        return list(self._api.object("GET", f"{_path(kind, name)}/history")["versions"])

    def roll_back(self, kind: str, name: str, version: int) -> dict[str, Any]:
        """Make a definition as it was in a version; return the change."""
        return self._api.object("POST", f"{_path(kind, name)}/rollback", {"version": version})


def _path(kind: str, name: str) -> str:
    return f"/definitions/{quote(kind, safe='')}/{quote(name, safe='')}"
