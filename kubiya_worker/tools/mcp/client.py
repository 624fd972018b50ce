"""This module is the SDK's session, but it passes the server's lists and results on unchanged.

The SDK checks each answer against its models and raises when one does not fit. Then a single odd tool would lose all
of a server's tools, and a call that took effect would be reported as failed because its result has a block of a new
type, or data that its output schema does not allow. Here such answers pass the SDK unread, below `_meta`, and are read
by `listing` and `render`, which take what they can and name the rest. This module needs the package `mcp`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from mcp.client.session import ClientSession
from mcp.shared.dispatcher import CallOptions
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.message import SessionMessage
from mcp.types import CallToolResult, JSONRPCError, JSONRPCResponse
from pydantic import ValidationError

from kubiya_worker.tools.mcp.answers import RAW

_PASSED: Final[Mapping[str, dict[str, Any]]] = {"tools/list": {"tools": []}, "tools/call": {"content": []}}


class _Dispatcher(JSONRPCDispatcher[Any]):
    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None, **more: Any
    ) -> dict[str, Any]:
        result = await super().send_raw_request(method, params, opts, **more)
        if method == "initialize":
            return _initialized(result)
        return {**_PASSED[method], "_meta": {RAW: result}} if method in _PASSED else result


def mended(item: Any) -> Any:
    """Return a message in a form that the SDK can read, as its call would otherwise wait for ever.

    Such a message is an answer whose result is not an object, or whose error is not one of JSON-RPC's.
    """
    if not isinstance(item, ValidationError):
        return item
    told = (error.get("input") for error in item.errors(include_url=False, include_context=False))
    message = next((one for one in told if isinstance(one, Mapping) and one.get("id") is not None), None)
    if message is None or "method" in message or not isinstance(message["id"], (int, str)):
        return item
    number = message["id"]
    if message.get("error") is not None:
        about = message["error"]
        words = about.get("message") if isinstance(about, Mapping) else about
        text = words if isinstance(words, str) else json.dumps(about, ensure_ascii=False, default=str)
        fault = {"code": -32000, "message": text}
        return SessionMessage(JSONRPCError.model_validate({"jsonrpc": "2.0", "id": number, "error": fault}))
    if "result" not in message:
        return item
    result = message["result"]
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str)
    content = {"content": [] if result is None else [{"type": "text", "text": text}]}
    return SessionMessage(JSONRPCResponse.model_validate({"jsonrpc": "2.0", "id": number, "result": content}))


class McpClient(ClientSession):
    """A session over a transport's two streams; other arguments are those of the SDK's `ClientSession`."""

    def __init__(self, read_stream: Any, write_stream: Any, **more: Any) -> None:
        super().__init__(dispatcher=_Dispatcher(read_stream, write_stream), **more)

    async def validate_tool_result(self, name: str, result: CallToolResult) -> None:
        """Let every result pass: the call has taken effect, whatever its data look like."""


def _initialized(result: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to `initialize`, with the fields added that the SDK needs."""
    about = result.get("serverInfo")
    named = about if isinstance(about, dict) else {}
    result_fields = {key: value for key, value in result.items() if key in ("protocolVersion", "_meta")}
    capabilities = result.get("capabilities")
    offered_capabilities = (
        {key: value for key, value in (capabilities or {}).items() if isinstance(value, dict)}
        if isinstance(capabilities, dict)
        else {}
    )
    words = result.get("instructions")
    return {
        **result_fields,
        "capabilities": offered_capabilities,
        "serverInfo": {"name": str(named.get("name") or "unknown"), "version": str(named.get("version") or "unknown")},
        **({"instructions": words} if isinstance(words, str) else {}),
    }
