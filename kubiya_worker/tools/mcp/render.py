"""This module turns an MCP call's result into text for the model; parts that cannot be read are named.

The call has taken effect, so an odd result does not make it a failed one: only `isError` does.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from kubiya_worker.tools.base import ToolFile, ToolResult
from kubiya_worker.tools.text import clean, cut

ODD: Final = 500  # characters that are shown of a block of an unknown type
FIELD: Final = 2_000  # characters of a link's name, address or description
FILE: Final = 32_000_000  # bytes of an image or another file that is kept
FILES: Final = 20  # of one result


def render(result: Mapping[str, Any], limit: int) -> ToolResult:
    """Return the text and the files of a result. At most `limit` characters."""
    files: list[ToolFile] = []
    pieces = [piece for block in _blocks(result) for piece in _rendered_block(block, files) if piece]
    data = result.get("structuredContent")
    if data is not None and not _repeats(data, pieces):
        pieces.append(_json(data))
    if not pieces and not files:
        rest = {key: value for key, value in result.items() if key not in _KNOWN}
        pieces = [_json(rest)] if rest else []
    text = clean("\n".join(pieces))
    left_out = max(len(text) - limit, 0)
    if left_out:
        text = f"{text[:limit]}\n… {left_out} characters left out …"
    error = None
    if str(result.get("isError", result.get("is_error"))).lower() in ("true", "1"):
        error = cut(" ".join(text.split()), 300) or "the server reported an error"
    if not text and not files:
        text = "[no output]"
    return ToolResult(text, error=error, metadata={"characters_left_out": left_out}, files=tuple(files[:FILES]))


_KNOWN: Final = ("content", "structuredContent", "isError", "is_error", "_meta", "resultType")


def _blocks(result: Mapping[str, Any]) -> list[Any]:
    content = result.get("content")
    if content is None:
        return []
    return content if isinstance(content, list) else [content]


_OF_TEXT: Final = frozenset({"type", "text", "annotations", "_meta"})


def _rendered_block(block: Any, files: list[ToolFile]) -> list[str]:
    if not isinstance(block, Mapping):
        return [block if isinstance(block, str) else _json(block)]
    kind = block.get("type") or ("text" if "text" in block else "")
    known = _KINDS.get(str(kind).lower())
    if known is None and isinstance(block.get("text"), str) and set(block) <= _OF_TEXT:
        known = _text  # such as `markdown`: a kind of text
    if known is not None:
        piece = known(block, files)
        if piece is not None:
            return [piece]
    kind = cut(clean(kind or "no type"), 100)
    return [f"[a block of type {kind}, which cannot be shown: {cut(_json(dict(block)), ODD)}]"]


def _text(block: Mapping[str, Any], files: list[ToolFile]) -> str | None:
    words = block.get("text")
    return None if words is None else words if isinstance(words, str) else _json(words)


def _file(block: Mapping[str, Any], files: list[ToolFile]) -> str | None:
    """Return a file of a block; some servers write it as the APIs of models do."""
    kind = str(block["type"]).removesuffix("_url")
    source = block.get("source")
    source = source if isinstance(source, Mapping) else block
    held = block.get(f"{kind}_url", source.get("url"))
    address = held.get("url") if isinstance(held, Mapping) else held
    media_type = block.get("mimeType") or source.get("media_type")
    if isinstance(address, str) and address.startswith("data:"):
        media_type = media_type or address[5:].partition(";")[0]
        return _file_or_reason(address, media_type, "", files, kind)
    if source.get("data") is None and address:
        return _link({"name": kind, "uri": address, "mimeType": media_type}, files)
    return _file_or_reason(source.get("data"), media_type, "", files, kind)


def _link(block: Mapping[str, Any], files: list[ToolFile]) -> str | None:
    named = block.get("title") or block.get("name")
    size = block.get("size")
    fields = [
        _field(named),
        _field(block.get("mimeType")),
        f"{size} bytes" if isinstance(size, int) else "",
        _field(block.get("uri")),
        _field(block.get("description")),
    ]
    if block.get("title") and block.get("name") != block.get("title"):
        fields.insert(1, _field(block.get("name")))
    parts = [part for part in fields if part]
    return f"[link: {', '.join(parts)}]" if parts else None


def _resource(block: Mapping[str, Any], files: list[ToolFile]) -> str | None:
    inner = block.get("resource")
    if not isinstance(inner, Mapping):
        return None
    where = ", ".join(part for part in (_field(inner.get("uri")), _field(inner.get("mimeType"))) if part)
    words = inner.get("text")
    if words is not None:
        return f"[resource {where}]\n{words if isinstance(words, str) else _json(words)}"
    if inner.get("blob") is None:
        return f"[resource {where}, without content]"
    return _file_or_reason(inner.get("blob"), inner.get("mimeType"), _field(inner.get("uri")), files, "resource")


_KINDS: Final[Mapping[str, Callable[[Mapping[str, Any], list[ToolFile]], str | None]]] = {
    "text": _text,
    "image": _file,
    "image_url": _file,
    "audio": _file,
    "video": _file,
    "resource_link": _link,
    "resource": _resource,
}


def _file_or_reason(data: Any, media_type: Any, name: str, files: list[ToolFile], kind: str) -> str:
    """Add a file to `files` and return an empty text, or return the line that says why the file is missing."""
    label = ", ".join(part for part in (f"{kind} {_field(media_type)}".strip(), name) if part)
    if len(files) >= FILES:
        return f"[{label}: there are more than {FILES} files in the result]"
    if not isinstance(data, str):
        return f"[{label}: its data are missing]"
    base64_text = data.rpartition(",")[2]  # of a data URL, what follows the comma
    packed = "".join(base64_text.split()).translate(_URL_SAFE).rstrip("=")
    if len(packed) * 3 // 4 > FILE:
        return f"[{label}: it has more than {FILE} bytes]"
    try:
        raw = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        return f"[{label}: its data cannot be decoded]"
    files.append(ToolFile(raw, _media_type(media_type, raw), name))
    return ""


_URL_SAFE: Final = str.maketrans("-_", "+/")
_MAGIC: Final = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF", "application/pdf"),
)


def _media_type(declared: Any, raw: bytes) -> str:
    """Return the type by the data's first bytes, else the declared one: providers refuse a wrong one."""
    for magic, kind in _MAGIC:
        if raw.startswith(magic):
            return kind
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        return "image/webp"
    kind = declared.partition(";")[0].strip().lower() if isinstance(declared, str) else ""
    if kind in ("image/png", "image/jpeg", "image/gif", "image/webp"):
        return "application/octet-stream"  # declared as an image, but its bytes are none
    return cut(clean(kind), 100) or "application/octet-stream"


def _repeats(data: Any, pieces: list[str]) -> bool:
    """Return True when the text of a result says the same as its data, as most servers do it."""
    for piece in pieces:
        try:
            said = json.loads(piece)
        except (ValueError, RecursionError):
            said = piece
        inner = next(iter(data.values())) if isinstance(data, Mapping) and len(data) == 1 else data
        if said in (data, inner) or piece == inner:
            return True
    return len(pieces) > 1 and isinstance(data, Mapping) and [pieces] == [*data.values()]


def _field(value: Any) -> str:
    return cut(" ".join(clean(value).split()), FIELD) if isinstance(value, str) else ""


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return "(data that cannot be shown)"
