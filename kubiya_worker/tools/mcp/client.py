"""This module is the SDK's session, but it passes the server's lists and results on unchanged.

The SDK checks each answer against its models and raises when one does not fit. Then a single odd tool would lose all
of a server's tools, and a call that took effect would be reported as failed because its result has a block of a new
type, or data that its output schema does not allow. Here such answers pass the SDK unread, below `_meta`, and are read
by `listing` and `render`, which take what they can and name the rest. This module needs the package `mcp`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mcp import MCPError
from mcp.client.session import ClientSession
from mcp.shared.dispatcher import CallOptions
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.message import SessionMessage
from mcp.types import PARSE_ERROR, CallToolResult, ErrorData, JSONRPCError, jsonrpc_message_adapter
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import ValidationError

from kubiya_worker.errors import Unavailable
from kubiya_worker.tools.mcp.answers import RAW
from kubiya_worker.tools.mcp.messages import NO_MESSAGE, UNNUMBERED, normal

_UNREAD: Final = "Failed to parse "  # how the SDK's own error for a message begins that it cannot read
_ASSUMED: Final = "2025-03-26"  # the version of a server that names none
_EARLIEST: Final = {"2024-10-07": "2024-11-05"}  # of the first servers: for tools the two say the same
_PASSED: Final[Mapping[str, dict[str, Any]]] = {"tools/list": {"tools": []}, "tools/call": {"content": []}}


class _Dispatcher(JSONRPCDispatcher[Any]):
    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None, **more: Any
    ) -> dict[str, Any]:
        try:
            result = await super().send_raw_request(method, params, opts, **more)
        except MCPError as error:
            version = _version_offered(error) if method == "initialize" else None
            unnumbered = error.data.get(UNNUMBERED) if isinstance(error.data, Mapping) else None
            if isinstance(unnumbered, dict):
                result = unnumbered
            elif version is None:
                raise
            else:
                asked = {**(params or {}), "protocolVersion": version}
                result = await super().send_raw_request(method, asked, opts, **more)
        if method == "initialize":
            return _initialized(result)
        return {**_PASSED[method], "_meta": {RAW: result}} if method in _PASSED else result

    def _resolve_pending(self, request_id: Any, outcome: Any) -> None:
        """Give an error without a number to the only call that is under way: no other can be meant."""
        if request_id is None and isinstance(outcome, ErrorData) and len(self._pending) == 1:
            request_id = next(iter(self._pending))
        super()._resolve_pending(request_id, outcome)


def _version_offered(error: MCPError) -> str | None:
    """Return the newest version that a server names which refuses ours, if this worker speaks it."""
    data = error.data if isinstance(error.data, Mapping) else {}
    named = data.get("supported", data.get("supportedVersions"))
    known = [version for version in HANDSHAKE_PROTOCOL_VERSIONS if isinstance(named, list) and version in named]
    return max(known, default=None)


def mended(item: Any) -> Any:
    """Return a message in a form that the SDK can read, as its call would otherwise wait for ever."""
    if isinstance(item, SessionMessage) and isinstance(item.message, JSONRPCError):
        error = item.message.error
        if error.code == PARSE_ERROR and error.message.startswith(_UNREAD):  # the SDK's own words, with its trace
            error.message = NO_MESSAGE
    if not isinstance(item, ValidationError):
        return item
    told = (error.get("input") for error in item.errors(include_url=False, include_context=False))
    message = next((one for one in told if isinstance(one, Mapping) and "jsonrpc" in one), None)
    if message is None:
        return item
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_python(normal(message), by_name=False))
    except ValidationError:
        return item


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
    version = result.get("protocolVersion")
    version = version if isinstance(version, str) and version.strip() else _ASSUMED
    version = _EARLIEST.get(version, version)
    if version not in HANDSHAKE_PROTOCOL_VERSIONS:
        spoken = f"{HANDSHAKE_PROTOCOL_VERSIONS[0]} to {HANDSHAKE_PROTOCOL_VERSIONS[-1]}"
        raise Unavailable(
            f"it speaks version {version[:40]!r} of MCP, this worker {spoken}",
            remedy="Update the server, or the worker",
        )
    result_fields = {"protocolVersion": version, **({"_meta": result["_meta"]} if "_meta" in result else {})}
    capabilities = result.get("capabilities")
    # The SDK reads their names and switches; whatever else stands in them may not be in the form that it expects.
    offered_capabilities = {
        key: {name: switch for name, switch in value.items() if isinstance(switch, bool)}
        for key, value in (capabilities.items() if isinstance(capabilities, dict) else ())
        if isinstance(value, dict)
    }
    words = result.get("instructions")
    return {
        **result_fields,
        "capabilities": offered_capabilities,
        "serverInfo": {"name": str(named.get("name") or "unknown"), "version": str(named.get("version") or "unknown")},
        **({"instructions": words} if isinstance(words, str) else {}),
    }
