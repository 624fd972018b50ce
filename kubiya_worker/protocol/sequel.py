"""This module says where a run of a conversation begins that was led before: after its end, or up to a step of it.

The control plane puts it into the workflow's input (docs/control-plane.md). Pure.
"""

# No postponed annotations, as in execution.py: the input is a payload.

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

SPENT: Final = "spent"  # the key of an execution's metadata with what its budget has counted, beside its usage
QUESTIONS: Final = 1_000  # numbers that the questions about limits of one run may take


@dataclass(frozen=True)
class Sequel:
    """The place from which a conversation goes on; all zero for one that begins.

    `number` counts how often this execution has gone on after its end. It is 0 for a new execution that shares the
    beginning of another one's conversation.
    """

    number: int = 0
    message: dict[str, Any] = field(default_factory=dict)  # its first message, without role and content
    turns: int = 0  # the number of the last turn
    texts: int = 0  # the highest number in an assistant message's id
    usage: dict[str, Any] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0  # of work
    limits: dict[str, Any] = field(default_factory=dict)  # that people have raised

    @classmethod
    def parse(cls, raw: Mapping[str, Any] | None) -> "Sequel":
        """Return the sequel without unknown fields, which a later version may send."""
        return cls(**{name: raw[name] for name in cls.__dataclass_fields__ if name in raw}) if raw else cls()

    @property
    def mark(self) -> dict[str, int]:
        """Return what the writes of this run say, so that a late one of an earlier run is told from them."""
        return {"sequel": self.number} if self.number else {}

    @property
    def asked(self) -> int:
        """Return the number before that of the first question about a limit: none is asked twice."""
        return self.number * QUESTIONS
