"""This module has the calls for the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from io import TextIOWrapper
from typing import IO, Any, cast
from urllib.parse import urlencode

from urllib3.exceptions import HTTPError

from kubiya_worker.cli.connection import Api
from kubiya_worker.errors import Unavailable


class AuditApi:
    """The calls of a person's commands for the audit log."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def newest(self, filters: dict[str, str], limit: int) -> list[dict[str, Any]]:
        """Return the newest records that fit, the newest first."""
        return self._api.objects(f"/audit?{urlencode({**{k: v for k, v in filters.items() if v}, 'limit': limit})}")

    def head(self) -> str:
        """Return NUMBER:HASH of the last record."""
        return str(self._api.object("GET", "/audit/head")["head"])

    def begin(self) -> str:
        """Return NUMBER:HASH of the last record that was removed; an empty text while all are there."""
        return str(self._api.object("GET", "/audit/head").get("begins") or "")

    def lines(self, after: int = 0) -> Iterator[str]:
        """Yield the records after a number, in their order, without holding them all."""
        reply = self._api.open(f"/audit/export?after={after}", "The export")
        try:
            for line in TextIOWrapper(cast(IO[bytes], reply), encoding="utf-8"):
                yield line.rstrip("\n")
        except HTTPError as error:  # without this, a cut connection would look like records that are missing
            raise Unavailable(f"The export broke off: {error}", remedy="Try again") from error
        finally:
            reply.close()
