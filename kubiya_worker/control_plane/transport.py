"""JSON over HTTP with the control plane: one pool of connections, with the environment's proxy and CA bundle.

`requests` finds the proxy that the environment names, and is imported where there is one. The requests themselves go
directly to the connection pool, which halves their cost in CPU time.
"""

from __future__ import annotations

import html
import math
import os
import re
import ssl
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, NewConnectionError, ProxyError, TimeoutError

from kubiya_worker import proxies, trust
from kubiya_worker.control_plane import errors
from kubiya_worker.control_plane.fault_log import FaultLog
from kubiya_worker.control_plane.json_values import decoded, encoded

if TYPE_CHECKING:
    from kubiya_worker.control_plane.direct import DirectConnections

POOLS, CONNECTIONS = 4, 32  # hosts, and connections to each of them
REDIRECTS: Final = (301, 302, 303, 307, 308)
ERROR_CHARACTERS: Final = 20_000  # characters of an error's body that are read; the rest is ignored
LONGEST_DETAIL: Final = 300  # characters of an error's body in our message
NO_TLS: Final = "it does not speak TLS; is the address http://?"  # of a handshake that was answered in plain text
MOST_FAULTS: Final = 5  # faults of one answer (422) that the message names


class Transport:
    def __init__(
        self,
        base_url: str,
        headers: dict[str, str],
        *,
        connect_timeout: float,
        read_timeout: float,
        direct: bool = False,
    ) -> None:
        """Set up the pool. `direct` uses no proxy, whatever the environment says. Time limits are in seconds."""
        self.base_url = base_url
        self._timeout = urllib3.Timeout(connect=connect_timeout, read=read_timeout)
        self._headers = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate", **headers}
        self._manager = _manager(base_url, direct)
        self._proxied = not direct and bool(proxies.proxy_for(base_url))
        self._faults = FaultLog.of_environment()
        self.skew: float | None = None  # seconds that this host's clock is ahead of the server's, by its first answer

    def close(self) -> None:
        self._manager.clear()

    def directly(self) -> DirectConnections | None:
        """Return connections for an event loop to the same place; None where TLS or a proxy is on the way."""
        parts = urlsplit(self.base_url)
        if parts.scheme != "http" or self._proxied or not parts.hostname or parts.username:
            return None
        from kubiya_worker.control_plane.direct import DirectConnections  # commands have no event loop

        return DirectConnections(parts.hostname, parts.port or 80, self._headers)

    def call(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        timeout: tuple[float, float] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """Make a request and return the JSON of the answer; None when it is empty. Raises ControlPlaneError.

        `timeout`: seconds to connect, and to wait for bytes. A `body` of bytes is JSON already.
        """
        data = body if body is None or isinstance(body, bytes) else encoded(body)
        request_headers = {**self._headers, **(headers or {})}
        if data is not None:
            request_headers["Content-Type"] = "application/json"
        limit = self._timeout if timeout is None else urllib3.Timeout(connect=timeout[0], read=timeout[1])
        reply = self._request(method, url, data, request_headers, limit, preload=True)
        if reply.status >= 400:
            fault = self.refusal(method, url, reply.status, _detail(reply), _retry_after(reply))
            fault.problems = _problems(reply)
            raise fault
        if reply.status in REDIRECTS:
            raise errors.Refused(
                f"{method} {url} is redirected to {reply.headers.get('Location', 'nowhere')[:200]}",
                remedy="Set CONTROL_PLANE_URL to where the control plane is",
                status=reply.status,
            )
        try:
            return decoded(reply.data)
        except (ValueError, RecursionError) as error:
            raise errors.Refused(
                f"{method} {url} answered something that is not JSON", remedy="Is this URL a Kubiya control plane?"
            ) from error

    def foreign(self) -> str:
        """Return what shows that another kind of server answers at this URL; empty where none does, or nobody answers.

        Each control plane answers GET /api/health with an object that has a status, also without a key
        (docs/protocol.md#a1).
        """
        path = "/api/health"
        try:
            answer = self.call("GET", f"{self.base_url}{path}", timeout=(2.0, 5.0))
        except errors.Refused as error:
            return f"{path} is answered with {error.status or 'something that is not JSON'}"
        except errors.ControlPlaneError:
            return ""
        known = isinstance(answer, dict) and isinstance(answer.get("status"), str)
        return "" if known or answer is None else f"{path} is answered with JSON that says no status"

    def refusal(
        self, method: str, url: str, status: int, detail: str, retry_after: float | None = None
    ) -> errors.ControlPlaneError:
        """Return the error to raise for a request that got this answer, alone or in a batch."""
        if self._faults is not None:
            self._faults.add(method, url, status, detail)
        return errors.from_status(status, f"{method} {url} answered {status}: {detail}", retry_after)

    def open(self, url: str, headers: dict[str, str], *, timeout: tuple[float, float]) -> urllib3.BaseHTTPResponse:
        """Open a stream, whatever its status. The caller reads it piece by piece and closes it."""
        limit = urllib3.Timeout(connect=timeout[0], read=timeout[1])
        return self._request("GET", url, None, {**self._headers, **headers}, limit, preload=False)

    def _request(
        self,
        method: str,
        url: str,
        data: bytes | None,
        headers: dict[str, str],
        limit: urllib3.Timeout,
        *,
        preload: bool,
    ) -> urllib3.BaseHTTPResponse:
        try:
            # A redirect would turn a POST into a GET, or carry the request elsewhere.
            reply = self._manager.urlopen(
                method,
                url,
                body=data,
                headers=headers,
                timeout=limit,
                retries=False,
                redirect=False,
                preload_content=preload,
            )
        except (LocationValueError, UnicodeError) as error:
            raise errors.Refused(f"{self.base_url} is not a URL", remedy="Check CONTROL_PLANE_URL") from error
        except HTTPError as error:
            if self._faults is not None:
                self._faults.add(method, url, None, _reason(error))
            raise errors.Unreachable(
                f"The control plane at {self.base_url} cannot be reached ({_reason(error)})",
                remedy="Check CONTROL_PLANE_URL and the network",
            ) from error
        if self.skew is None and reply.status < 500:  # a proxy's own page may come out of a cache
            self.skew = _skew(reply.headers.get("Date"))
        return reply


def _manager(base_url: str, direct: bool) -> urllib3.PoolManager:
    """Return the connection pool. Proxies and CA bundles are read from the environment once, not at each call."""
    bundle = trust.bundle(os.environ) or _bundle_of_requests()
    trusted: dict[str, Any] = {
        "ca_cert_dir" if Path(bundle).is_dir() else "ca_certs": bundle,
        "cert_reqs": "CERT_REQUIRED",
    }
    proxy = None if direct else proxies.proxy_for(base_url)
    if proxy:
        from requests.adapters import HTTPAdapter

        adapter = HTTPAdapter(pool_connections=POOLS, pool_maxsize=CONNECTIONS)
        manager: urllib3.PoolManager = adapter.proxy_manager_for(proxy, **trusted)
        return manager
    return urllib3.PoolManager(POOLS, maxsize=CONNECTIONS, **trusted)


def _bundle_of_requests() -> str:
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    return str(DEFAULT_CA_BUNDLE_PATH)


def _problems(reply: urllib3.BaseHTTPResponse) -> list[dict[str, Any]]:
    """Return each fault of a 422 as the server tells it; empty for any other answer."""
    if reply.status != 422:
        return []
    try:
        answer = decoded(reply.data)
    except (ValueError, RecursionError):
        return []
    listed = answer.get("detail") if isinstance(answer, dict) else None
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _detail(reply: urllib3.BaseHTTPResponse) -> str:
    """Return why the server refuses, in one line: of JSON, of plain text, or of a proxy's HTML page."""
    try:
        answer = decoded(reply.data)
    except (ValueError, RecursionError):
        answer = None
    text = reply.data[:ERROR_CHARACTERS].decode("utf-8", "replace")
    reason = detail_of(answer) if isinstance(answer, dict) else one_line(_words(text))
    return reason or reply.reason or "no reason given"


def _words(text: str) -> str:
    """Return the text itself, or for an HTML page its title or its text without tags."""
    if not text.lstrip().startswith("<"):
        return text
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    return html.unescape(title[1] if title else re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL))


def one_line(text: str) -> str:
    """Return the text without line breaks and control characters, and no longer than LONGEST_DETAIL."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST_DETAIL else f"{line[: LONGEST_DETAIL - 1]}…"


def detail_of(answer: dict[str, Any]) -> str:
    """Return what the server says is wrong, in one line (docs/protocol.md#a1)."""
    detail = answer.get("detail")
    if detail is None:
        detail = answer.get("error") or answer.get("message")
    if isinstance(detail, dict):
        parts = [str(detail[k]).removesuffix(".") for k in ("message", "hint") if detail.get(k)]
        detail = ". ".join(parts) or str(detail.get("error") or "")
    elif isinstance(detail, list):
        detail = "; ".join(map(_fault_of, detail[:MOST_FAULTS]))
    return one_line(str(detail or "")[:ERROR_CHARACTERS])


def _fault_of(entry: Any) -> str:
    """Return one entry of a 422 as a line: the field and the fault."""
    if not isinstance(entry, dict):
        return str(entry)
    where = entry.get("loc")
    place = ".".join(map(str, where)) if isinstance(where, list | tuple) else str(where or "")
    return f"{place}: {entry.get('msg')}"


def _skew(stamp: str | None) -> float | None:
    """Return the clock skew in seconds, positive when we are ahead. A Date header is exact to one second."""
    try:
        return time.time() - parsedate_to_datetime(stamp).timestamp() if stamp else None
    except (ValueError, OverflowError):
        return None


def _retry_after(reply: urllib3.BaseHTTPResponse) -> float | None:
    """Return the seconds that an answer asks to wait: a number, or a date."""
    header = reply.headers.get("Retry-After")
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _reason(error: HTTPError) -> str:
    """Return the innermost cause in a few words, such as `Connection refused`."""
    if isinstance(error, TimeoutError) and not isinstance(error, NewConnectionError):  # which is one, to urllib3
        return "no answer in time"
    system = next((one for one in error.args if isinstance(one, OSError) and one.strerror), None)
    if isinstance(system, ssl.SSLError) and system.reason == "WRONG_VERSION_NUMBER":
        return NO_TLS
    text = str(system.strerror) if system else str(error)
    text = text.rpartition("] ")[2] if "] " in text else text.rpartition(": ")[2]
    while text.endswith(('"', "'")) or (text.endswith(")") and text.count("(") < text.count(")")):
        text = text[:-1]
    return f"through its proxy: {text[:200]}" if isinstance(error, ProxyError) else text[:200]
