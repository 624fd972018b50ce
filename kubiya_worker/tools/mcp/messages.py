"""This module reads JSON-RPC messages as MCP servers really write them: within logs, several at once, or malformed.

A message that is given up leaves its call waiting until the time limit, so what can be read is read. Pure.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from kubiya_worker.protocol.characters import cleaned

Message = dict[str, Any]

UNREADABLE: Final = "it sent an answer that cannot be read as JSON"
NO_MESSAGE: Final = "it sent something that is no MCP message"
NO_NUMBER: Final = "it sent an answer without the number of its call"
UNNUMBERED: Final = "kubiya-worker/unnumbered"  # in the `data` of an error: the result that came without a number
_KEYS: Final = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_TOLD: Final = ("method", "result", "error")
# Byte order marks, NUL, and the colours of terminals.
_NOISE: Final = re.compile(r"[\ufeff\0]|\x1b\[[0-9;?]*[A-Za-z]")
_BEGINS: Final = re.compile(r'\{\s*"(?:jsonrpc|id|method|result|error)"\s*:')
_PRINTED: Final = re.compile(r"\{'(?:jsonrpc|id|result|error)': ")
_NUMBERED: Final = re.compile(r'\s*\{\s*(?:"jsonrpc"\s*:\s*"[^"]*"\s*,\s*)?"id"\s*:\s*(\d{1,18}|"[^"\\]{1,200}")\s*,')


def messages_in(text: str) -> list[Message]:
    """Return the messages in a line or a body, in a form that the SDK takes; none where none can be read."""
    text = _NOISE.sub("", text).strip()
    try:
        value = json.loads(text, strict=False)
        values = value if isinstance(value, list) else [value]
        return [normal(one) for one in values if isinstance(one, dict) and _is_message(one)]
    except (ValueError, RecursionError):
        return [normal(message) for message in _embedded(text) or _printed(text)]


def normal(message: Mapping[str, Any]) -> Message:
    """Return a message with the fields that the protocol asks for, in place of those that a server has sent."""
    number = message.get("id")
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, (int, str)):
        number = None
    head: Message = {"jsonrpc": "2.0", **({} if number is None else {"id": number})}
    params = message.get("params")
    if isinstance(message.get("method"), str):
        told = {"params": cleaned(params)} if isinstance(params, dict) else {}
        return {**head, "method": message["method"], **told}
    if message.get("error") is not None:
        return {"id": None, **head, "error": _error(message["error"])}
    result = cleaned(_result(message.get("result")))
    if number is None:  # the SDK passes on only errors without one; its call takes the result out of it again
        return {**head, "id": None, "error": {"code": -32600, "message": NO_NUMBER, "data": {UNNUMBERED: result}}}
    return {**head, "result": result}


def numbered(message: Message, number: Any) -> Message:
    """Return an answer with the number of the call that it can only be meant for."""
    data = message["error"].get("data") if "error" in message else None
    if isinstance(data, Mapping) and UNNUMBERED in data:
        return {"jsonrpc": "2.0", "id": number, "result": data[UNNUMBERED]}
    return {**message, "id": number}


def _result(result: Any) -> dict[str, Any]:
    if isinstance(result, dict):
        return result
    if result is None:
        return {"content": []}
    if isinstance(result, list) and result and all(isinstance(one, dict) and "type" in one for one in result):
        return {"content": result}
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str)
    return {"content": [{"type": "text", "text": text}]}


def _error(error: Any) -> dict[str, Any]:
    words = error.get("message") if isinstance(error, dict) else error
    text = words if isinstance(words, str) and words.strip() else json.dumps(error, ensure_ascii=False, default=str)
    code = error.get("code") if isinstance(error, dict) else None
    known = isinstance(code, int) and not isinstance(code, bool)
    data = error.get("data") if isinstance(error, dict) and isinstance(words, str) else None
    made = {"code": code if known else -32000, "message": text, **({} if data is None else {"data": data})}
    return {name: cleaned(value) for name, value in made.items()}


def _is_message(value: Mapping[str, Any]) -> bool:
    """Return whether an object is a message, and not one that a server writes into its log."""
    if "jsonrpc" in value:
        return "id" in value or any(name in value for name in _TOLD)
    return set(value) <= _KEYS and any(name in value for name in _TOLD)


def _embedded(text: str) -> list[Message]:
    """Return the messages in a text that holds something else, too."""
    messages: list[Message] = []
    at = 0
    decoder = json.JSONDecoder(strict=False)
    while begin := _BEGINS.search(text, at):
        try:
            value, at = decoder.raw_decode(text, begin.start())
        except (ValueError, RecursionError):
            at = begin.end()
            continue
        if isinstance(value, dict) and "jsonrpc" in value and _is_message(value):
            messages.append(value)
    return messages


def _printed(text: str) -> list[Message]:
    """Return the message that a server of Python has printed as Python writes it."""
    if not _PRINTED.match(text):
        return []
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    return [value] if isinstance(value, dict) and _is_message(value) else []


def begins(text: str) -> bool:
    """Return whether a message begins in a line."""
    return _BEGINS.search(_NOISE.sub("", text)) is not None


def unreadable(text: str) -> list[Message]:
    """Return an error in place of an answer that cannot be read; without a number where its beginning has none."""
    text = _NOISE.sub("", text).strip()
    begin = _BEGINS.search(text)
    numbered = _NUMBERED.match(text)
    if begin is None or '"method"' in text[begin.start() : begin.start() + 200]:
        return []
    number = json.loads(numbered[1]) if numbered else None
    return [{"jsonrpc": "2.0", "id": number, "error": {"code": -32700, "message": UNREADABLE}}]
