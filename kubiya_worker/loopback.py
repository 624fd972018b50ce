"""Requests to a program on this host: without proxy, TLS or redirects. For metrics pages and health checks."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

LARGEST: Final = 8 << 20  # bytes of an answer that are read


def request(
    method: str, url: str, *, timeout: float, body: str | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Return status and body of the answer; `timeout` is in seconds. Raises OSError, also for what is no HTTP."""
    try:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    except (ValueError, http.client.InvalidURL) as error:
        raise OSError(f"{url} is no address: {error}") from error
    try:
        connection.request(method, parts.path or "/", body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read(LARGEST)
    except http.client.HTTPException as error:
        raise OSError(f"{url}: {type(error).__name__} {error}".rstrip()) from error
    finally:
        connection.close()


def page(url: str, *, timeout: float) -> str:
    """Return the text of a page. Raises OSError, also for a status other than 200."""
    status, body = request("GET", url, timeout=timeout)
    if status != 200:
        raise OSError(f"{url}: HTTP status {status}")
    return body.decode(errors="replace")
