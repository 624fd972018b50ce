"""This module finds JSON that a server writes into an event stream without the field `data:`. Pure.

The standard skips such a line, and with it the error that says why the stream ends there. Servers write an error object
on a line, or over several, a line `error: ...`, or the end mark alone. Others print an object over several lines, and
write `data:` before the first one only.
"""

from __future__ import annotations

import json
import re
from typing import Final

LARGEST: Final = 16 * 1024 * 1024  # bytes of a line that are held; a longer one goes on as it is
NAME: Final = "stray"  # the name of events that are made of such lines; one that is no JSON is skipped
_KNOWN: Final = re.compile(rb"(?:data|event|id|retry)?[ \t]*:")
_ODD_DATA: Final = re.compile(rb"(?!(?-i:data:))[ \t]*data[ \t]*:", re.IGNORECASE)  # which the standard skips
_OPENING: Final = re.compile(rb"data:[ \t]*([{\[].*)", re.DOTALL)  # data that is an object or a list, or begins one
_SHOWN: Final = 500  # bytes of a line that are kept to be shown
_ERROR: Final = b"error:"
_END: Final = re.compile(rb"\r\n|\n|\r(?!$)")


class StrayLines:
    """Rewrite a stream line by line, wherever its pieces are cut: a stray line gets the fields that it lacks."""

    def __init__(self) -> None:
        self._held = bytearray()  # a line without its end yet
        self._searched = 0
        self.unread = b""  # the first line that is no field, and no JSON either
        self._stray = False  # whether the block that is open consists of such lines
        self._printed = bytearray()  # the lines so far of an object that began behind `data:`

    def feed(self, piece: bytes) -> bytes:
        self._held += piece
        lines: list[bytes] = []
        start = 0
        for end in _END.finditer(self._held, self._searched):
            lines.append(self._line(bytes(self._held[start : end.start()])))
            start = end.end()
        del self._held[:start]
        # The last byte may be half of a line's end.
        self._searched = max(0, len(self._held) - 1)
        if len(self._held) > LARGEST:
            lines.append(self.flush())
        return b"".join(lines)

    def flush(self) -> bytes:
        """Return the line that the end of the stream leaves open."""
        line = bytes(self._held).removesuffix(b"\r")
        self._held.clear()
        self._searched = 0
        return self._line(line) if line else b""

    def _line(self, line: bytes) -> bytes:
        odd = _ODD_DATA.match(line)
        if odd:
            line = b"data:" + line[odd.end() :]
        opening = _OPENING.fullmatch(line)
        if self._goes_on(line) and not opening:
            self._printed += b"\n" + line
            return b"data: %s\n" % line
        self._printed = bytearray(opening.group(1) if opening else b"")
        if self._stray and line.strip() and not _KNOWN.match(line):
            return b"data: %s\n" % line
        before, self._stray = b"\n" if self._stray else b"", False
        if line.lstrip()[:1] in (b"{", b"["):
            self._stray = True
            return b"\nevent: %s\ndata: %s\n" % (NAME.encode(), line)
        if line.startswith(_ERROR):
            return b"%s\nevent: error\ndata: %s\n\n" % (before, line[len(_ERROR) :])
        if not self.unread and not _KNOWN.match(line):
            self.unread = line.strip()[:_SHOWN]
        return before + line + b"\n"

    def _goes_on(self, line: bytes) -> bool:
        """Return whether a line belongs to the object that is printed over several lines."""
        if not self._printed or not line.strip() or _KNOWN.match(line):
            return False
        return len(self._printed) < LARGEST and not _is_json(self._printed)


def _is_json(text: bytearray) -> bool:
    if not text.rstrip().endswith((b"}", b"]")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
