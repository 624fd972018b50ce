"""Skill `http`: fetching from web servers that the configuration names, and from no others.

Which hosts and addresses may be reached is `addresses`. Here: one request at a time, redirects followed by hand (each
is a new URL that is checked like the first), and limits of time and size. Nothing of the worker's own goes out: no
proxy, cookie or netrc of its environment.
"""

from __future__ import annotations

import asyncio
import fnmatch
import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

from kubiya_worker import addresses, templates
from kubiya_worker.errors import ConfigurationError
from kubiya_worker.pinned_http import HttpAnswer, Resolve, exchange, http_errors, lookup
from kubiya_worker.protocol.tools import ToolSpec
from kubiya_worker.tools.base import Tool, ToolContext, ToolResult, refusal
from kubiya_worker.tools.skill_configuration import Skill

TYPES: Final = ("http", "web", "fetch")
KEYS: Final = {
    "allowed_hosts": "Hosts that may be reached, with `*` as a wildcard; `*` alone is every public one (required)",
    "blocked_hosts": "Host names that may not, whatever is allowed (none)",
    "allowed_methods": "Of GET HEAD POST PUT PATCH DELETE OPTIONS (GET HEAD)",
    "private_networks": "Networks such as 10.1.0.0/16 that may be reached although they are not public (none)",
    "headers": "Headers of every request, with {{NAME}} filled in from the execution's environment; not together with "
    "`*` as an allowed host (none)",
    "timeout": "Seconds of one fetch, redirects included, 1 to 300 (30)",
    "max_response_size": 'Bytes, or a string such as "10MB", that are read of an answer (5MB)',
    "max_redirects": "How many are followed, 0 to 10 (5)",
}
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_RESPONSE: Final = 5 << 20
MAX_BODY: Final = 1 << 20  # bytes that a model may send
CHUNK: Final = 1 << 16

# Headers that the protocol or this code sets, or that would say who is asking.
_RESERVED: Final = re.compile(
    r"host|connection|content-length|transfer-encoding|te|trailer|upgrade|expect|keep-alive|proxy-.*|accept-encoding"
    r"|x-forwarded-.*|forwarded|metadata(-flavor)?|x-aws-ec2-metadata-.*",
    re.IGNORECASE,
)
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_TEXTUAL: Final = re.compile(r"text/|application/([^;]*[+/.-])?(json|xml|javascript|yaml|x-www-form-urlencoded|sql)\b")


def build(skill: Skill, workspace: Path) -> list[Tool]:
    return [HttpRequest(skill)]


class HttpRequest:
    """The tool `http_request`, with the arguments `{url, method?, headers?, body?}`."""

    def __init__(self, skill: Skill, resolve: Resolve | None = None) -> None:
        self._resolve = resolve or lookup
        hosts = skill.strings("allowed_hosts", None)
        if not hosts:
            raise ConfigurationError(
                f"skill {skill.name!r} ({skill.type}): `allowed_hosts` is missing",
                remedy='List the hosts that may be reached, such as ["api.example.com", "*.example.org"], or ["*"] for '
                "every public one",
            )
        self._allowed = _patterns(skill, "allowed_hosts", hosts)
        self._blocked = _patterns(skill, "blocked_hosts", skill.strings("blocked_hosts", ()) or ())
        self._methods = _methods(skill)
        self._private = _networks(skill)
        self._headers = _configured_headers(skill)
        if self._headers and "*" in self._allowed:
            raise skill.wrong("headers", "absent while `allowed_hosts` has `*`: any host would be sent them")
        self._timeout = skill.number("timeout", 30, 1, 300)
        self._max_size = skill.size("max_response_size", MAX_RESPONSE) or MAX_RESPONSE
        self._redirects = int(skill.number("max_redirects", 5, 0, 10))
        self.spec = self._describe()

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        method = str(arguments.get("method") or self._methods[0]).upper()
        body = arguments.get("body")
        data = str(body).encode("utf-8", "replace") if body is not None else None
        try:
            if method not in self._methods:
                raise addresses.RequestRefused(
                    f"The method {method} is not allowed; these are: {', '.join(self._methods)}"
                )
            if data is not None and (method in READING or len(data) > MAX_BODY):
                raise addresses.RequestRefused(
                    f"{method} takes no body" if method in READING else "The body is over 1 MB"
                )
            headers = _model_headers(arguments.get("headers") or {})
            own = templates.resolve(self._headers, context.env, "the http skill's `headers`", context.secrets)
            async with asyncio.timeout(self._timeout):
                answer = await self._fetch(method, str(arguments["url"]), headers, own, data)
        except (addresses.RequestRefused, ConfigurationError) as refused:
            return refusal(str(refused))
        except TimeoutError:
            return _failure(f"no whole answer within {self._timeout:g} seconds")
        except OSError as error:
            return _failure(f"the server cannot be reached ({error.strerror or type(error).__name__})")
        except http_errors() as error:
            return _failure(f"the exchange with the server failed ({str(error)[:200] or type(error).__name__})")
        return _result(answer, context.keep_limit)

    async def _fetch(
        self, method: str, url: str, headers: dict[str, str], own: dict[str, str], data: bytes | None
    ) -> HttpAnswer:
        target = self._target(url)
        first = target.origin
        for _ in range(self._redirects + 1):
            reachable = await self._addresses(target)
            sent = {**headers, **own} if target.origin == first else _without_credentials(headers)
            answer = await exchange(method, target, reachable, sent, data, self._max_size)
            location = answer.headers.get("location")
            if answer.status not in (301, 302, 303, 307, 308) or not location:
                return answer
            if answer.status == 303 or (answer.status in (301, 302) and method == "POST"):
                method, data = ("HEAD" if method == "HEAD" else "GET"), None
                if method not in self._methods:
                    return answer
            target = self._target(urljoin(target.url, location))
        raise addresses.RequestRefused(f"The server redirected more than {self._redirects} times")

    def _target(self, url: str) -> addresses.Target:
        target = addresses.parse(url)
        if not any(fnmatch.fnmatchcase(target.host, pattern) for pattern in self._allowed):
            raise addresses.RequestRefused(f"The host {target.host} is not one of those that may be reached")
        if any(fnmatch.fnmatchcase(target.host, pattern) for pattern in self._blocked):
            raise addresses.RequestRefused(f"The host {target.host} is blocked")
        if addresses.is_local_name(target.host) and not self._private:
            raise addresses.RequestRefused(f"{target.host} is a name of a local network")
        return target

    async def _addresses(self, target: addresses.Target) -> Sequence[addresses.Address]:
        known = addresses.literal(target.host)
        resolved = [known] if known is not None else await self._resolve(target.host, target.port)
        addresses.check(target.host, resolved, self._private)
        return resolved

    def _describe(self) -> ToolSpec:
        reading = set(self._methods) <= READING
        hosts = "any public host" if "*" in self._allowed else ", ".join(self._allowed)
        properties: dict[str, Any] = {
            "url": {"type": "string", "minLength": 1, "maxLength": addresses.LONGEST},
            "method": {"type": "string", "enum": list(self._methods), "description": f"Default: {self._methods[0]}"},
            "headers": {"type": "object", "additionalProperties": {"type": "string"}},
        }
        if not reading:
            properties["body"] = {"type": "string", "description": "Set a content-type header that fits"}
        return ToolSpec(
            name="http_request",
            description=f"Fetch a URL and read the answer as text. Hosts that may be reached: {hosts}.",
            parameters={
                "type": "object",
                "properties": properties,
                "required": ["url"],
                "additionalProperties": False,
            },
            idempotent=reading,
            risk="medium" if reading else "high",
            category="network",
            timeout=self._timeout + 10,
            taints=True,
            remote=True,
            effects=("egress",) if reading else ("egress", "write"),
            named=not any("*" in name for name in self._allowed),
        )


def _result(answer: HttpAnswer, output_limit: int) -> ToolResult:
    content_type = answer.headers.get("content-type", "")
    lines = [f"HTTP {answer.status} {answer.reason}".rstrip(), f"url: {answer.url}"]
    lines += [
        f"{name}: {answer.headers[name][:500]}"
        for name in ("content-type", "location", "last-modified", "retry-after")
        if name in answer.headers
    ]
    charset = re.search(r"charset=[\"']?([\w.:-]+)", content_type, re.IGNORECASE)
    text = ""
    if answer.body and (_TEXTUAL.match(content_type.lower()) or (not content_type and b"\0" not in answer.body[:4096])):
        try:
            text = answer.body.decode(charset[1] if charset else "utf-8", "replace")
        except LookupError:
            text = answer.body.decode("utf-8", "replace")
    elif answer.body:
        lines.append(f"[{len(answer.body)} bytes that are not text are not shown]")
    if len(text) > output_limit:
        lines.append(f"[the first {output_limit} of {len(text)} characters]")
        text = text[:output_limit]
    if answer.cut:
        lines.append(f"[the answer is longer than the {len(answer.body)} bytes that were read]")
    error = f"HTTP {answer.status}" if answer.status >= 400 else None
    output = "\n".join(lines) + ("\n\n" + text.replace("\0", "\N{REPLACEMENT CHARACTER}") if text else "\n")
    metadata = {"status": answer.status, "url": answer.url, "bytes": len(answer.body), "cut": answer.cut}
    return ToolResult(output, error=error, metadata=metadata)


def _failure(message: str) -> ToolResult:
    return ToolResult(f"No answer: {message}.", error=message, taints=False)


def _model_headers(headers: Mapping[str, Any]) -> dict[str, str]:
    checked = {}
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or _RESERVED.fullmatch(name):
            raise addresses.RequestRefused(f"The header {name[:100]!r} may not be set")
        if not isinstance(value, str) or not value.isprintable() or not value.isascii() or len(value) > 4096:
            raise addresses.RequestRefused(f"The value of the header {name} is not one line of ASCII text")
        checked[name.lower()] = value
    return checked


def _without_credentials(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that another origin may get after a redirect."""
    return {k: v for k, v in headers.items() if k in ("accept", "accept-language", "content-type", "range")}


def _configured_headers(skill: Skill) -> dict[str, str]:
    headers = skill.configuration.get("headers")
    if headers is None:
        return {}
    if not isinstance(headers, Mapping) or not all(
        isinstance(k, str) and _HEADER.fullmatch(k) and isinstance(v, str) and v.isprintable() and v.isascii()
        for k, v in headers.items()
    ):
        raise skill.wrong("headers", "an object of header names and one-line values")
    return {str(k).lower(): str(v) for k, v in headers.items()}


def _methods(skill: Skill) -> tuple[str, ...]:
    methods = tuple(name.upper() for name in skill.strings("allowed_methods", ("GET", "HEAD")) or ())
    if not methods or not set(methods) <= set(METHODS):
        raise skill.wrong("allowed_methods", f"a list of {', '.join(METHODS)}")
    return methods


def _patterns(skill: Skill, key: str, names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if not re.fullmatch(r"\*|(\*\.)?[A-Za-z0-9_*-]+(\.[A-Za-z0-9_*-]+)*|[0-9a-fA-F:.]+", name):
            raise skill.wrong(key, f"a list of host names without scheme, port or path; {name!r} is not one")
    return tuple(name.lower() for name in names)


def _networks(skill: Skill) -> tuple[addresses.Network, ...]:
    networks = []
    for name in skill.strings("private_networks", ()) or ():
        try:
            networks.append(ipaddress.ip_network(name))
        except ValueError:
            raise skill.wrong("private_networks", f"a list of networks such as 10.1.0.0/16; {name!r} is none") from None
    return tuple(networks)
