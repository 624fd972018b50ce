"""The terminal: colours where they are wanted, and text whose control characters are removed."""

from __future__ import annotations

import codecs
import io
import os
import re
import unicodedata
from dataclasses import dataclass
from typing import Final, TextIO

# Control characters C0 (except tab and newline), DEL and C1. They move the cursor, set the title or make the terminal
# send text, so text from models and tools could control the terminal.
_CONTROL: Final = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
# These marks reorder text, so a command could look different from what a person approves.
_BIDI: Final = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f]")


_RAISING: Final = ("strict", "backslashreplace", "surrogateescape")  # the last one in the locales C and POSIX
_ASCII: Final = {"…": "...", "·": "-", "▸": ">", "✓": "ok", "✗": "!!"}


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_ASCII.get(c, "?") for c in error.object[error.start : error.end]), error.end


codecs.register_error("plainly", _plainly)


def tolerate(stream: TextIO) -> None:
    """Let a stream without UTF-8 replace unknown characters (by '?' or a similar one) instead of raising an error."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors in _RAISING:
        stream.reconfigure(errors="plainly")


def clean(text: str) -> str:
    """Return `text` without control sequences; carriage returns become line ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _BIDI.sub("\ufffd", _CONTROL.sub("", text))


def one_line(text: str, width: int) -> str:
    """Return `text` on one line of at most `width` columns."""
    return truncate(" ".join(clean(text).split()), width)


def columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def truncate(text: str, width: int) -> str:
    """Cut `text` to `width` columns, with an ellipsis at the cut."""
    used = 0
    for position, character in enumerate(text):
        used += columns_of(character)
        if used > width:
            while position >= 0 and used > width - 1:
                used -= columns_of(text[position])
                position -= 1
            return text[: position + 1] + "…"
    return text


@dataclass(frozen=True)
class Paint:
    """ANSI styles, or none. `symbol` returns plain text on terminals without UTF-8."""

    colour: bool = False
    unicode: bool = True

    @classmethod
    def for_stream(cls, stream: TextIO) -> Paint:
        """Choose the style for a stream.

        NO_COLOR and TERM=dumb switch colours off, FORCE_COLOR switches them on (no-color.org, force-color.org).
        """
        if os.environ.get("NO_COLOR"):
            colour = False
        elif os.environ.get("FORCE_COLOR"):
            colour = True
        else:
            colour = stream.isatty() and os.environ.get("TERM") != "dumb"
        return cls(colour, "utf" in (stream.encoding or "").lower())

    def _style(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text

    def dim(self, text: str) -> str:
        return self._style("2", text)

    def bold(self, text: str) -> str:
        return self._style("1", text)

    def green(self, text: str) -> str:
        return self._style("32", text)

    def red(self, text: str) -> str:
        return self._style("31", text)

    def yellow(self, text: str) -> str:
        return self._style("33", text)

    def cyan(self, text: str) -> str:
        return self._style("36", text)

    def symbol(self, fancy: str, plain: str) -> str:
        return fancy if self.unicode else plain
