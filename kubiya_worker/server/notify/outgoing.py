"""This module reaches channels: only public addresses, and those in networks that the operator has named.

A definition is written by a person who may not be the operator, so its addresses follow the rules of the skill `http`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Final

from kubiya_worker import addresses
from kubiya_worker.addresses import Address, RequestRefused
from kubiya_worker.pinned_http import HttpAnswer, exchange, http_errors, lookup
from kubiya_worker.server.notify.settings import NETWORKS, NotifySettings

LARGEST_ANSWER: Final = 65_536  # bytes
# Answers that the same message gets at each try: it is wrong itself, and no channel that is down.
_FINAL: Final = frozenset({400, 406, 410, 413, 414, 415, 422})


class Undelivered(Exception):
    """A channel did not take a message; the text is shown to people and holds no secret.

    `final`: the next try would end in the same way. `wait`: seconds that the channel asks for.
    """

    def __init__(self, text: str, *, final: bool = False, wait: float | None = None) -> None:
        super().__init__(text)
        self.final, self.wait = final, wait


class Outgoing:
    def __init__(self, settings: NotifySettings) -> None:
        self.networks = settings.networks
        self.apprise = settings.apprise

    async def addresses_of(self, host: str, port: int) -> Sequence[Address]:
        """Return the addresses of a host, all of them checked. Raises Undelivered."""
        try:
            if addresses.is_local_name(host) and not self.networks:
                raise RequestRefused(f"{host} is a name of a local network")
            known = addresses.literal(host)
            resolved = [known] if known is not None else await lookup(host, port)
            addresses.check(host, resolved, self.networks)
        except RequestRefused as error:
            raise Undelivered(f"{error}. An operator can allow a network: {NETWORKS}") from None
        return resolved

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> HttpAnswer:
        """Send one request and return the answer, which is a success. Raises Undelivered.

        No error quotes the URL: in some channels it is the secret.
        """
        try:
            target = addresses.parse(url)
        except RequestRefused as error:
            raise Undelivered(str(error)) from None
        resolved = await self.addresses_of(target.host, target.port)
        try:
            answer = await exchange("POST", target, resolved, headers, body, LARGEST_ANSWER)
        except RequestRefused as error:
            raise Undelivered(str(error)) from None
        except OSError as error:
            raise Undelivered(f"{target.host} cannot be reached ({error.strerror or type(error).__name__})") from None
        except http_errors() as error:
            raise Undelivered(f"{target.host} cannot be reached ({type(error).__name__})") from None
        if not 200 <= answer.status < 300:
            raise refused(target.host, answer.status, answer.headers.get("retry-after", ""))
        return answer


def refused(host: str, status: int, retry_after: str) -> Undelivered:
    """Return what an answer other than a success means. Pure, but for the time of a Retry-After."""
    if 300 <= status < 400:
        return Undelivered(f"{host} redirects ({status}), and redirects are not followed: name the final address")
    return Undelivered(
        f"{host} answers {status}",
        final=status in _FINAL,
        wait=_wait(retry_after),
    )


def _wait(text: str) -> float | None:
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
