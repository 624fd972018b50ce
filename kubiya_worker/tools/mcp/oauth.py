"""This module gets bearer tokens by OAuth's client credentials grant (RFC 6749, 4.4) and keeps them until they expire.

The SDK's provider wants to discover the authorization server from the MCP server, and so lets that decide who is given
the client's secret. Here `token_url` is configured, and nobody else sees it. Tokens are in memory only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from kubiya_worker.tools.mcp.faults import HttpFault, reason_of

TIMEOUT: Final = 15.0  # seconds of one request for a token
EARLY: Final = 30.0  # seconds before its end that a token is renewed
LIFETIME: Final = 300.0  # seconds of a token whose lifetime is not told


class TokenCache:
    """The token of one set of client credentials."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = dict(settings)
        self._token = ""
        self._until = 0.0  # monotonic
        self._lock = asyncio.Lock()

    @property
    def current(self) -> str:
        """Return the current token; empty when there is none yet."""
        return self._token

    async def get(self, http: Any, *, refused: str = "") -> str:
        """Return a token that is valid, and another one than `refused`. Raises HttpFault."""
        async with self._lock:
            if not self._token or time.monotonic() >= self._until or self._token == refused:
                await self._fetch(http)
            return self._token

    async def _fetch(self, http: Any) -> None:
        import httpx2

        settings = self._settings
        form = {"grant_type": "client_credentials"}
        form |= {key: settings[key] for key in ("scope", "audience") if settings.get(key)}
        # RFC 6749, 2.3.1: both parts are form-encoded before they become a user name and a password.
        pair = (quote(settings["client_id"], safe=""), quote(settings["client_secret"], safe=""))
        try:
            answer = await http.send(
                http.build_request("POST", settings["token_url"], data=form, timeout=TIMEOUT),
                auth=httpx2.BasicAuth(*pair),
                follow_redirects=False,
            )
            if answer.status_code in (400, 401):  # some servers accept the credentials only in the form
                both = {**form, "client_id": settings["client_id"], "client_secret": settings["client_secret"]}
                answer = await http.post(settings["token_url"], data=both, timeout=TIMEOUT, follow_redirects=False)
            await answer.aread()
        except httpx2.HTTPError as error:
            raise HttpFault(f"no token from the `token_url`: {type(error).__name__}", sent=False) from error
        if answer.status_code != 200:
            reason = reason_of(answer.content, answer.headers.get("content-type", ""))
            # Report it as sent: wrong credentials are not tried again at once.
            raise HttpFault(f"no token from the `token_url`, which answered {answer.status_code}: {reason}")
        try:
            found = answer.json()
            self._token = str(found["access_token"])
            lifetime = float(found.get("expires_in") or LIFETIME)
        except (ValueError, KeyError, TypeError) as error:
            raise HttpFault("the `token_url` answered without an access_token") from error
        self._until = time.monotonic() + max(lifetime - EARLY, lifetime / 2)
