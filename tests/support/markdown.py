"""Fenced blocks of a Markdown page, and the commands in them as a shell would read them."""

from __future__ import annotations

import re
from dataclasses import dataclass

FENCE = re.compile(r"^([ ]*)```(\S*)[ ]*\n(.*?)^\1```[ ]*$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """`section` is the nearest heading above; `line` the number of the block's first line."""

    section: str
    language: str
    text: str
    line: int

    @property
    def commands(self) -> list[str]:
        return commands(self.text)


def blocks(page: str) -> list[Block]:
    found = []
    for match in FENCE.finditer(page):
        head = page[: match.start()]
        outside = FENCE.sub("", head)  # a comment in a block above is no heading
        headings = HEADING.findall(outside)
        text = re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE)
        found.append(Block(headings[-1] if headings else "", match[2], text, head.count("\n") + 2))
    return found


def commands(text: str) -> list[str]:
    """Lines of a shell, continuations joined, comments taken off; an argument in quotes may span lines."""
    found: list[str] = []
    pending = ""
    for line in text.splitlines():
        line = _without_comment(line).rstrip()
        if line.endswith("\\"):
            pending += line[:-1].strip() + " "
            continue
        pending += line.strip() if not pending or pending.endswith(" ") else line
        if pending.count("'") % 2:
            pending += "\n"
            continue
        if pending.strip():
            found.append(pending.strip())
        pending = ""
    return found


def _without_comment(line: str) -> str:
    quote = ""
    for at, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "#" and (at == 0 or line[at - 1].isspace()):
            return line[:at]
    return line
