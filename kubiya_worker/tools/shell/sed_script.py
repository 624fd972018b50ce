"""This module reads a sed script as its grammar has it, and lets only commands through that print, delete or replace.

Not let through: `e` and the flag `e` (run a program), `w`, `W` and the flag `w` (write a file), `r` and `R` (read one),
scripts from a file, and editing in place.
"""

from __future__ import annotations

import re
from typing import Final

from kubiya_worker.tools.shell.options import Arguments, Options, Place, UnclearScript

OPTIONS: Final = Options(
    plain="nErsuz",
    valued="el",
    long="quiet silent regexp-extended posix sandbox debug separate unbuffered null-data zero-terminated version help "
    "expression= line-length=",
)
_ADDRESS: Final = re.compile(r"\d+(?:~\d+)?|\$")
_SECOND: Final = re.compile(r"[+~]\d+")
_FLAGS: Final = re.compile(r"[gpiImM0-9]*")
_LABEL: Final = re.compile(r"[ \t]*([A-Za-z0-9_.-]*)[ \t]*(?=[;\n}]|\Z)")
_TEXT: Final = re.compile(r"(?:[ \t]*\\\n)?[^\\\n]*(?:\\[^\n][^\\\n]*)*(?=\n|\Z)")
_BRACKETS: Final = re.compile(r"(?<!\\)\[\^?\]?(?:\[:[a-z]+:\]|[^\]])*\]")
_COMMANDS_ALONE: Final = "=dDgGhHnNpPxzF"


def check(arguments: Arguments, place: Place) -> str | None:
    """Return the part of a call of sed that is dangerous or unclear; None when there is none."""
    given = OPTIONS.read(arguments, place)
    if given.refused:
        return given.refused
    scripts = given.values("-e", "--expression")
    if not scripts and not given.has("--version", "--help"):
        scripts = list(given.operands[:1])
    try:
        _Script("\n".join(scripts)).read()  # sed itself joins them by line ends
    except UnclearScript as unclear:
        return str(unclear)
    return None


class _Script:
    """This reads one script from its beginning to its end."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._depth = 0
        self._label_in_line = False

    def read(self) -> None:
        """Read the whole script. Raises UnclearScript at the first thing that is not known to be harmless."""
        while self._at < len(self._text):
            if self._take(r"[ \t;]+"):
                continue
            if self._take(r"\n"):
                self._label_in_line = False
                continue
            if self._take(r"#[^\n]*"):
                continue
            if self._take(r"\}"):
                self._depth -= 1
            else:
                self._addresses()
                self._command()
            self._ends()
        if self._depth:
            raise UnclearScript("braces that do not match")

    def _take(self, pattern: str | re.Pattern[str]) -> re.Match[str] | None:
        match = re.compile(pattern).match(self._text, self._at)
        if match:
            self._at = match.end()
        return match

    def _addresses(self) -> None:
        if self._address():
            self._take(r"[ \t]*")
            if self._take(r",[ \t]*") and not self._take(_SECOND) and not self._address():
                raise UnclearScript("an address that is not clear")
        self._take(r"[ \t]*(?:![ \t]*)*")

    def _address(self) -> bool:
        if self._take(_ADDRESS):
            return True
        if self._take(r"/"):
            self._pattern("/")
        elif self._take(r"\\(?=[^\n\\A-Za-z0-9])"):
            mark = self._text[self._at]
            self._at += 1
            self._pattern(mark)
        else:
            return False
        self._take(r"[IM]*")
        return True

    def _part(self, mark: str, *, lines: bool = False) -> str:
        """Read up to the next `mark`. `lines` allows an escaped end of line in it."""
        begin = self._at
        while self._at < len(self._text):
            char = self._text[self._at]
            self._at += 1
            if char == mark:
                return self._text[begin : self._at - 1]
            if char == "\\" and self._at < len(self._text):
                if self._text[self._at] == "\n" and not lines:
                    break
                self._at += 1
            elif char == "\n":
                break
        raise UnclearScript("a pattern that does not end")

    def _pattern(self, mark: str) -> None:
        """Read a regular expression up to its delimiter.

        With a delimiter between brackets, seds do not agree where it ends, and so where commands begin.
        """
        match = self._part(mark)
        rest = _BRACKETS.sub("", re.sub(r"\\\\", "", match))
        if re.search(r"(?<!\\)\[", rest):
            raise UnclearScript("a delimiter between brackets, which not every sed reads alike")

    def _command(self) -> None:
        if self._at >= len(self._text):
            raise UnclearScript("an address without a command")
        name = self._text[self._at]
        self._at += 1
        if name == "{":
            self._depth += 1
        elif name in _COMMANDS_ALONE:
            pass
        elif name in "lLqQ":
            self._take(r"[ \t]*\d*")
        elif name in "btT:":
            self._label_in_line = True
            if not self._take(_LABEL):
                raise UnclearScript("a label that is not clear")
        elif name in "aic":
            if self._label_in_line or not self._take(_TEXT):
                raise UnclearScript(f"the text of `{name}`, whose end is not clear")
        elif name in "sy":
            self._replaces(name)
        else:
            raise UnclearScript(f"the command `{name}`, since only printing, deleting and replacing lines is allowed")

    def _replaces(self, name: str) -> None:
        mark = self._text[self._at : self._at + 1]
        if not mark or mark in "\\\n \t;" or mark.isalnum():
            raise UnclearScript("a delimiter that is not clear")
        self._at += 1
        self._pattern(mark)
        self._part(mark, lines=True)
        if name == "s":
            self._take(_FLAGS)

    def _ends(self) -> None:
        """Refuse anything between a command and the end of its statement, such as the flags `e` and `w`."""
        if self._text[self._at - 1] == "{":
            return
        self._take(r"[ \t]*")
        if self._at < len(self._text) and self._text[self._at] not in ";\n}#":
            raise UnclearScript(f"{self._text[self._at : self._at + 20]!r} behind a command")
