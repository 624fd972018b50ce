"""The second check of a bundle: can a secret be read from the packed files? Pure.

It shares no code with the removal of secrets (`tools/redaction.py`, which looks for encoded forms): here the packed
text is decoded, and searched for the plain secrets. So an error in one of the two is caught by the other.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

LINE: Final = 16  # characters: a line of a secret that is at least this long is a secret itself
_ESCAPES: Final = re.compile(rb"(?:\\u[0-9a-fA-F]{4})+|\\[\"\\/bfnrt]")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{8,}")
_HEX: Final = re.compile(rb"[0-9a-fA-F]{12,}")
_QUOTES: Final = re.compile(rb"\\([\\'\"])")  # as Python shows a string
_SHELL: Final = re.compile(rb"'\"'\"'|'\\''")
_URLSAFE: Final = bytes.maketrans(b"-_", b"+/")


def leaks(data: bytes, secrets: Iterable[str]) -> list[int]:
    """Return the positions in `secrets` of those that can be read from `data`, in plain or encoded once."""
    views = list(_views(data))
    positions: list[int] = []
    for position, secret in enumerate(secrets):
        parts = {secret.strip(), *(line.strip() for line in secret.splitlines() if len(line.strip()) >= LINE)}
        needles = [part.encode("utf-8", "surrogatepass") for part in parts if part]
        if any(needle in view for needle in needles for view in views):
            positions.append(position)
    return positions


def without_leaks(text: str, secrets: Sequence[str], instead: str) -> str:
    """Return the text with `instead` for each line from which a secret can be read."""
    if not leaks(text.encode("utf-8", "replace"), secrets):
        return text
    lines = text.splitlines(keepends=True)
    return "".join(f"{instead}\n" if leaks(line.encode("utf-8", "replace"), secrets) else line for line in lines)


def _views(data: bytes) -> Iterator[bytes]:
    """Yield the data itself, and the data decoded as JSON, URL, base64 and hex text."""
    yield data
    once = _unescaped(data)
    yield once
    yield _unescaped(once)
    yield _QUOTES.sub(rb"\1", data)
    yield _QUOTES.sub(rb"\1", _QUOTES.sub(rb"\1", data))
    yield _SHELL.sub(b"'", data)
    yield html.unescape(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    yield unquote_to_bytes(data)
    yield unquote_to_bytes(data.replace(b"+", b" "))
    for skipped in range(4):
        yield b"\n".join(_base64(run[skipped:]) for run in _BASE64.findall(data))
    for skipped in range(2):
        yield b"\n".join(_hex(run[skipped:]) for run in _HEX.findall(data))


def _unescaped(data: bytes) -> bytes:
    def decoded(match: re.Match[bytes]) -> bytes:
        text: str = json.loads(b'"' + match[0] + b'"')
        return text.encode("utf-8", "surrogatepass")

    return _ESCAPES.sub(decoded, data)


def _base64(run: bytes) -> bytes:
    whole = run[: len(run) // 4 * 4].translate(_URLSAFE)
    rest = run[len(whole) :].translate(_URLSAFE)
    if len(rest) > 1:
        whole += rest + b"A" * (4 - len(rest))
    return base64.b64decode(whole)


def _hex(run: bytes) -> bytes:
    return binascii.unhexlify(run[: len(run) // 2 * 2])
