"""Forms that a call of `/mcp` shows to its person, with nothing in one server's memory that another one needs.

A client of the older versions of MCP (those that begin with `initialize`) gets a form as a request within the answer to
its call, and sends what its person filled in as a request of its own, which a load balancer may lead to any server. So
the form's id names the approval, whichever server gets the answer gives it to the API, and the one whose call waits is
told that the form is closed. The session's id holds, sealed, what the client can do: no server has to remember it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from starlette.types import Message, Receive, Send

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.mcp_server import follower, requests
from kubiya_worker.mcp_server.api import AgentsApi

if TYPE_CHECKING:
    from kubiya_worker.server.sealing import Seal

ID: Final = "kubiya-form:"  # and the approval's id
FORMS: Final = {"forms": True}
NO_FORMS: Final = {"forms": False}


class ClosedForms:
    """Wake who waits for a form when it is closed, filled in or not, at this server or at another."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self.told: Callable[[str], None] = lambda key: None  # tells the other servers

    @contextlib.contextmanager
    def awaited(self, key: str) -> Iterator[asyncio.Event]:
        closed = asyncio.Event()
        self._waiting.setdefault(key, set()).add(closed)
        try:
            yield closed
        finally:
            self._waiting[key].discard(closed)
            if not self._waiting[key]:
                del self._waiting[key]

    def close(self, key: str) -> None:
        self.wake(key)
        self.told(key)

    def wake(self, key: str) -> None:
        for closed in self._waiting.get(key, ()):
            closed.set()


class CallStream:
    """The answer to one call, into which forms are put between what the SDK sends."""

    def __init__(self, send: Send, forms: ClosedForms, whose: str) -> None:
        self._send, self._forms, self._whose = send, forms, whose
        self._begun, self._open = asyncio.Event(), False

    async def send(self, message: Message) -> None:
        """Send a part of the SDK's answer."""
        if message["type"] == "http.response.start":
            headers = dict(message.get("headers", ()))
            self._open = headers.get(b"content-type", b"").startswith(b"text/event-stream")
        elif not message.get("more_body"):
            self._open = False
        await self._send(message)
        self._begun.set()

    @contextlib.asynccontextmanager
    async def show(self, approval: Mapping[str, Any]) -> AsyncIterator[asyncio.Event]:
        """Show a form, and give the event of its end, set at once where the answer has no room for a form."""
        key = str(approval["id"])
        with self._forms.awaited(f"{self._whose} {key}") as closed:
            await self._begun.wait()
            if self._open:
                await self._send({"type": "http.response.body", "body": form(approval), "more_body": True})
            else:
                closed.set()
            yield closed


def form(approval: Mapping[str, Any]) -> bytes:
    """Return the request for an answer as an event of a stream."""
    about = {"message": requests.message(approval), "requestedSchema": requests.form(approval)}
    asked = {"jsonrpc": "2.0", "id": f"{ID}{approval['id']}", "method": "elicitation/create", "params": about}
    return f"event: message\r\ndata: {json.dumps(asked)}\r\n\r\n".encode()


def session_of(message: Mapping[str, Any]) -> dict[str, bool]:
    """Return what is kept of a client's `initialize`: whether it shows forms. Pure."""
    params = message.get("params")
    capabilities = params.get("capabilities") if isinstance(params, Mapping) else None
    shows = capabilities.get("elicitation") if isinstance(capabilities, Mapping) else None
    return FORMS if isinstance(shows, Mapping) and ("form" in shows or "url" not in shows) else NO_FORMS


def sealed(seal: Seal, session: Mapping[str, bool], whose: str) -> str:
    """Return the id of a session. Raises ConfigurationError."""
    return seal.close(json.dumps(session), _place(whose))


def opened(seal: Seal, session_id: str, whose: str) -> dict[str, bool] | None:
    """Return the session that an id stands for; None for one that is not this caller's, or none at all."""
    try:
        document = json.loads(seal.open(session_id, _place(whose)))
    except (ConfigurationError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _place(whose: str) -> str:
    return f"mcp-session:{whose}"


async def take_answer(api: AgentsApi, forms: ClosedForms, whose: str, message: Mapping[str, Any]) -> None:
    """Give what a person has filled in to the API, which checks who may answer what. Raises PlaneRefused."""
    key, result = str(message["id"]).removeprefix(ID), message.get("result")
    try:
        if isinstance(result, Mapping) and await follower.is_open(api, key):
            approval = await api.ask("GET", f"/approvals/{quote(key, safe='')}")
            content = result.get("content")
            await follower.answer(
                api, approval, str(result.get("action")), content if isinstance(content, Mapping) else None
            )
    finally:
        forms.close(f"{whose} {key}")


def is_answer(message: Mapping[str, Any]) -> bool:
    """Return whether a client's message is its answer to a form of ours. Pure."""
    return "method" not in message and str(message.get("id") or "").startswith(ID)


def received_again(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read already, and then what comes, such as the client's going away."""
    left = [body]

    async def again() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return again
