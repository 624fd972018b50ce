"""This module holds the block of an answer that Anthropic's and Bedrock's streams are writing. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

TEXT: Final = "text"
THINKING: Final = "thinking"
SEALED: Final = "sealed"
CALL: Final = "call"


class Unreadable(Exception):
    """A piece of an answer that fits nowhere; its words say what came."""


@dataclass
class Block:
    """A block under a number of ours, since servers use one of theirs twice, or leave it out."""

    number: int
    kind: str
    identity: str = ""
    given: str = ""  # arguments that came with the beginning; pieces that follow replace them
    signature: str = ""  # comes whole or in pieces, and is passed on once
    came: bool = False  # whether pieces followed the beginning

    def sign(self, piece: Any) -> None:
        """Add a piece of the signature; the whole one again is no piece."""
        if isinstance(piece, str) and piece != self.signature:
            self.signature += piece


def words(value: Any) -> str:
    """Return a text; empty for null."""
    return "" if value is None else value if isinstance(value, str) else str(value)


def arguments(value: Any) -> str:
    """Return a call's arguments as text; empty where there are none yet."""
    if value in (None, {}):
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
