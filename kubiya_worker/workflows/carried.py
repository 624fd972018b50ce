"""This module has the state that a run hands to the next one when it continues as new. It does no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Final, Protocol

from kubiya_worker.protocol import events, packing
from kubiya_worker.protocol import execution as ex

ONLY_TEAMS: Final = ("asked_in", "line")
OFTEN_EMPTY: Final = ("repeated", "go_on_questions", "lost", "unconfirmed", "places")  # left out while they are empty


@dataclass
class Carried:
    """The state of an execution between two runs. Each part of the execution fills in its own fields.

    The names are in histories, and a worker of another version reads them: never change or remove one. A new field
    needs a default, which is taken when an earlier version has not carried it.
    """

    conversation: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    approvals: dict[str, Any] = field(default_factory=dict)
    paused: bool = False
    done: bool = False
    status: str = ex.PENDING
    error: str | None = None
    error_type: str | None = None
    texts: int | None = None  # None: 0.1.0 did not count them
    sent: int = 0
    turn: int = 0
    turns_ended: int = 0
    step: int = 0
    steps: int = 0
    worked: float = 0.0  # seconds
    permitted: int = 0
    left: str = ""
    begun_turn: bool = False
    outbox: list[events.Event] = field(default_factory=list)
    behind: list[str] | None = None  # None: 0.1.0 did not carry it
    lost: list[dict[str, Any]] = field(default_factory=list)
    unconfirmed: dict[str, list[events.Event]] = field(default_factory=dict)
    turn_record: dict[str, Any] = field(default_factory=dict)
    tool_records: list[dict[str, Any]] = field(default_factory=list)
    tainted: bool = False
    limits: dict[str, Any] = field(default_factory=dict)
    not_raised: str | None = None
    raises: int = 0
    tokens: int = 0
    shortened: bool = False
    repairs: int = 0
    ledger: dict[str, Any] = field(default_factory=dict)
    started: int = 0
    repeated: dict[str, list[Any]] = field(default_factory=dict)
    go_on_questions: int = 0
    places: dict[str, dict[str, str]] = field(default_factory=dict)
    asked_in: int | None = None  # None: this is no team
    line: dict[str, Any] | None = None  # None: this is no team

    @classmethod
    def parse(cls, saved: dict[str, Any]) -> Carried:
        """Return the state from its JSON object. Fields that only a later version knows are ignored."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in saved.items() if name in known})

    def wire(self) -> dict[str, Any]:
        """Return the state as a JSON object."""
        return {
            name: value
            for name, value in vars(self).items()
            if (value is not None or name not in ONLY_TEAMS) and (value or name not in OFTEN_EMPTY)
        }

    @classmethod
    def unpack(cls, packed: str) -> Carried:
        """Return the state that `pack` has packed."""
        return cls.parse(packing.unpack(packed))

    def pack(self) -> str:
        """Compress the state to text. A run of this version has an activity do it (`continuation.py`)."""
        return packing.pack(self.wire())


class CarriedPart(Protocol):
    """A part of an execution that has state for the next run."""

    def carry(self, into: Carried) -> None:
        """Write the part's fields."""

    def restore(self, saved: Carried) -> None:
        """Take over the part's fields. Signals may have reached this part before: what they said stays."""
