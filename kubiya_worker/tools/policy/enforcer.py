"""This module asks the external policy enforcer (docs/protocol.md#d7), which must allow every tool call.

    POST {url}/enforce   {action, tool, user, organization, team, execution, metadata}
    200                  {"allow": true | false, "id": …, "policies": […]}

Two answers of ours beside the published ones: `approval_required: true` lets a person decide (with `allow: false`, so
that a worker that does not know it refuses), and `reason` is shown. Unlike the published worker this one is
fail-closed: whatever is not a clear answer within the time limit (no connection, a bad certificate, a redirect, any
status but 200, no JSON, `allow` that is neither true nor false) refuses the call, and says that it was no policy.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from kubiya_worker import __version__, trust
from kubiya_worker.protocol.calls import Context
from kubiya_worker.protocol.tools import RISKS, ToolSpec
from kubiya_worker.tools.policy.rules import Decision, Kind

if TYPE_CHECKING:
    import httpx2

TIMEOUT: Final = 2.0  # seconds for a whole answer (docs/protocol.md#d7)
ANSWER_BYTES: Final = 262_144
TEXT: Final = 300  # characters of what the service says that are shown
POLICIES: Final = 20  # names that are shown
IDLE: Final = 60.0  # seconds that a connection is kept
CATEGORIES: Final = ("command_execution", "file_operation", "file_search", "network", "general")


class _NoAnswer(Exception):
    """There is no clear answer; the text tells a person why."""


@dataclass(frozen=True)
class Verdict:
    """The service's decision; `fault` says why it could not be asked, which denies the call without a policy."""

    kind: Kind
    reason: str
    id: str = ""
    policies: tuple[str, ...] = ()
    latency: float = 0.0  # seconds
    fault: str = ""

    def decision(self, risk: str) -> Decision:
        """Return the verdict as one decision among those of other judges."""
        return Decision(self.kind, self.reason, risk=risk)

    def event_fields(self) -> dict[str, Any]:
        """Return the verdict's details for events."""
        details = {"id": self.id, "policies": list(self.policies), "latency_ms": round(self.latency * 1000, 1)}
        return {**details, "fault": self.fault} if self.fault else details


class Enforcer:
    """Ask the enforcer with `key` as a bearer token, from one event loop; connections are kept between calls."""

    def __init__(self, url: str, key: str = "", timeout: float = TIMEOUT) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._key = key
        self._client: httpx2.AsyncClient | None = None

    async def ask(self, question: Mapping[str, Any]) -> Verdict:
        """Return the verdict; never raise for an error of the service, which is a denial with a `fault`."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.timeout):
                status, body = await self._post(json.dumps(question, default=str).encode())
            return parse(status, body, time.monotonic() - began)
        except TimeoutError:
            fault = f"no answer within {self.timeout:g} s"
        except _NoAnswer as error:
            fault = str(error)
        except (OSError, ValueError) as error:
            fault = f"{type(error).__name__}: {error}"[:TEXT]
        return unanswered(fault, time.monotonic() - began)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        import httpx2  # import here, so that a worker without an enforcer does not load it

        if self._client is None:
            self._client = self._connect()
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",  # no compression, so that the limit of bytes also limits memory
            "User-Agent": f"kubiya-worker/{__version__}",
        }
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        for attempt in (1, 2):
            try:
                async with self._client.stream("POST", f"{self.url}/enforce", content=body, headers=headers) as reply:
                    if reply.is_redirect:  # following a redirect would carry the arguments and the key elsewhere
                        raise _NoAnswer(f"it redirects to {reply.headers.get('Location', '')[:TEXT]}")
                    received = b""
                    async for chunk in reply.aiter_raw():
                        received += chunk
                        if len(received) > ANSWER_BYTES:
                            raise _NoAnswer(f"its answer is over {ANSWER_BYTES:,} bytes")
                    return reply.status_code, received
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError) as error:
                if attempt == 2:  # the first try may have used a kept connection that the service had closed
                    raise _NoAnswer("it closed the connection without an answer") from error
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise _NoAnswer(str(error)[:TEXT] or type(error).__name__) from error
        raise AssertionError("unreachable")

    def _connect(self) -> httpx2.AsyncClient:
        import httpx2

        bundle = next((path for name in trust.VARIABLES if (path := os.environ.get(name))), None)
        verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=bundle) if bundle else True
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=IDLE)
        return httpx2.AsyncClient(timeout=None, verify=verify, limits=limits)


def parse(status: int, body: bytes, latency: float) -> Verdict:
    """Return the verdict in an answer."""
    if status in (401, 403):
        return unanswered(f"it answered {status}: check ENFORCER_API_KEY", latency)
    if status == 404:
        return unanswered("it answered 404: check ENFORCER_SERVICE_URL", latency)
    if status != 200:
        return unanswered(f"it answered {status}", latency)
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return unanswered("its answer is not JSON", latency)
    if not isinstance(answer, dict) or not isinstance(answer.get("allow"), bool):
        return unanswered("its answer does not say `allow`: true or false", latency)
    person = answer.get("approval_required", False)
    if not isinstance(person, bool):
        return unanswered("`approval_required` in its answer is neither true nor false", latency)
    policies = _names(answer.get("policies"))
    kind: Kind = "ask" if person else "allow" if answer["allow"] else "deny"
    verb = {"ask": "approval is required", "allow": "allowed", "deny": "denied"}[kind]
    named = f" ({', '.join(policies)})" if policies else ""
    why = _text(answer.get("reason"))
    reason = f"{verb} by the policy service{named}{f': {why}' if why else ''}"
    return Verdict(kind, reason, _text(answer.get("id")), policies, latency)


def unanswered(fault: str, latency: float) -> Verdict:
    reason = f"the policy service could not be asked ({fault}), and nothing runs without its word"
    return Verdict("deny", reason, latency=latency, fault=fault)


def question(
    spec: ToolSpec,
    arguments: Any,
    context: Context,
    *,
    execution_id: str,
    tool_execution_id: str,
    tainted: bool = False,
    approval: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the payload of docs/protocol.md#d7; `approval` is a person's approval, {approval_id, approver}."""
    member, user = context.member, context.user
    source = "mcp" if spec.source == "mcp" or spec.name.startswith("mcp__") else spec.source
    team = {"id": context.agent_id, "name": context.agent_name} if context.kind == "team" else {}
    if member is not None and not team:
        team = {"id": "", "name": member.path[0] if member.path else ""}
    metadata = {
        "tool_execution_id": tool_execution_id,
        "effects": list(spec.effects),
        "tainted": tainted,
        "agent_name": context.agent_name,
        **({"approval": dict(approval)} if approval else {}),
        **({"member_path": member.path, "member_execution_id": execution_id} if member else {}),
    }
    return {
        "action": "tool_execution",
        "tool": {
            "name": spec.name,
            "arguments": arguments,
            "source": source if source in ("mcp", "builtin") else "skill",
            "category": spec.category if spec.category in CATEGORIES else "general",
            "risk_level": spec.risk if spec.risk in RISKS else RISKS[-1],
        },
        "user": {
            "email": str(user.get("user_email") or ""),
            "id": str(user.get("user_id") or ""),
            "roles": [str(role) for role in user.get("user_roles") or ()],
        },
        "organization": {"id": context.organization_id, "name": ""},
        "team": team,
        "execution": {
            "execution_id": member.stream if member else execution_id,
            "agent_id": context.agent_id,
            "environment": "production",
            "timestamp": datetime.now(UTC).isoformat(),
        },
        "metadata": metadata,
    }


def key_for(url: str, key: str | None, control_plane_url: str, api_key: str) -> str:
    """Return the key for `url`: its own, or the worker's if that is the control plane; no other service gets it."""
    return key or (api_key if _origin(url) == _origin(control_plane_url) else "")


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _names(raw: Any) -> tuple[str, ...]:
    """Return the names of policies, which come as names or as objects with a name."""
    policies = []
    for each in raw if isinstance(raw, list) else []:
        name = (each.get("name") or each.get("id")) if isinstance(each, dict) else each
        if shown := _text(name):
            policies.append(shown)
    return tuple(policies[:POLICIES])


def _text(raw: Any) -> str:
    """Return the service's text as one printable line."""
    return "".join(c if c.isprintable() else " " for c in raw[:TEXT]).strip() if isinstance(raw, str) else ""
