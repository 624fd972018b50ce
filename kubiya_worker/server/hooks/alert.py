"""This module has the one form that every sender's delivery is brought into. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

FIRING: Final = "firing"
RESOLVED: Final = "resolved"
CRITICAL: Final = "critical"
ERROR: Final = "error"
WARNING: Final = "warning"
INFO: Final = "info"
SEVERITIES: Final = (CRITICAL, ERROR, WARNING, INFO)  # the most severe first
# What senders call them. A word that nobody knows is no severity: a template shows it among the labels.
_WORDS: Final = {
    **dict.fromkeys(("critical", "crit", "fatal", "disaster", "emergency", "page", "p1", "5", "down"), CRITICAL),
    **dict.fromkeys(("error", "high", "major", "p2", "4", "unreachable"), ERROR),
    **dict.fromkeys(("warning", "warn", "average", "medium", "minor", "p3", "2", "3", "unknown"), WARNING),
    **dict.fromkeys(("info", "information", "low", "notice", "p4", "p5", "1", "0", "ok", "up"), INFO),
}
LINE: Final = 300  # characters of a title, an id, a label's value
TEXT: Final = 6_000
URL: Final = 2_000
LABELS: Final = 60
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_NO_TIME: Final = "0001-01-01"  # Go's zero time, which Alertmanager sends for "not yet"


class BadShape(Exception):
    """The body is not what its sender sends; the text says which field is wrong."""

    def __init__(self, place: str, text: str) -> None:
        super().__init__(f"{place}: {text}")
        self.place, self.text = place, text


@dataclass(frozen=True)
class Alert:
    """An alert is what a delivery says, in one form.

    `group` names the thing that it is about: while a run works on it, nothing else starts. `id` names one occurrence of
    it. `state` differs from the delivery before when there is news. `number` is the sender's id of the delivery.
    """

    source: str
    id: str
    group: str
    status: str = FIRING
    severity: str = ""
    title: str = ""
    text: str = ""
    url: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    started_at: str = ""
    ended_at: str = ""
    event: str = ""
    raw: Any = None
    state: str = ""
    number: str = ""

    @property
    def resolved(self) -> bool:
        return self.status == RESOLVED

    @property
    def thing(self) -> str:
        """Return the group as a key of fixed length."""
        return digest(self.source, self.group)

    def values(self) -> dict[str, Any]:
        """Return what a template can name."""
        return {name: getattr(self, name) for name in NAMES}

    def facts(self) -> dict[str, Any]:
        """Return what is kept with the run: all but the body and the long text."""
        return {name: value for name, value in self.values().items() if name not in ("raw", "text") and value}


NAMES: Final = tuple(f.name for f in dataclasses.fields(Alert) if f.name not in ("state", "number"))


def digest(*parts: str) -> str:
    """Return a key for texts of any length."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()


def severity(word: Any) -> str:
    return _WORDS.get(str(word or "").strip().lower(), "")


def line(value: Any, most: int = LINE) -> str:
    """Return a value as one line without control characters, cut to `most`."""
    if value is None or isinstance(value, (dict, list)):
        return ""
    return cut(" ".join(_CONTROL.sub(" ", str(value)).split()), most)


def text(value: Any, most: int = TEXT) -> str:
    """Return a text without control characters, cut to `most`; lines stay."""
    if value is None or isinstance(value, (dict, list)):
        return ""
    return cut(_CONTROL.sub("", str(value).replace("\r\n", "\n").replace("\r", "\n")).strip(), most)


def cut(value: str, most: int) -> str:
    return value if len(value) <= most else f"{value[: most - 1]}…"


def time(value: Any) -> str:
    """Return a time as its sender wrote it; empty for none."""
    stamp = line(value, 60)
    return "" if stamp.startswith(_NO_TIME) else stamp


def url(value: Any) -> str:
    """Return a link; empty for anything but http and https."""
    address = line(value, URL)
    return address if address.startswith(("https://", "http://")) else ""


def labels(*sources: Any) -> dict[str, str]:
    """Return the labels of several objects, the first ones first, as lines."""
    joined: dict[str, str] = {}
    for each in sources:
        for name, value in each.items() if isinstance(each, Mapping) else ():
            if len(joined) < LABELS and not isinstance(value, (dict, list)):
                joined.setdefault(line(name, 100), line(value))
    return {name: value for name, value in joined.items() if name and value}


def within(body: Any, *path: str | int) -> Any:
    """Return what is at a place inside a body; None where it is not."""
    for step in path:
        if isinstance(body, Mapping):
            body = body.get(step)
        elif isinstance(body, Sequence) and not isinstance(body, str) and isinstance(step, int) and step < len(body):
            body = body[step]
        else:
            return None
    return body


def inner(body: Any, *path: str | int) -> Mapping[str, Any]:
    """Return the object at a place inside a body; an empty one where there is none."""
    value = within(body, *path)
    return value if isinstance(value, Mapping) else {}


def first(*values: Any) -> Any:
    return next((value for value in values if value not in (None, "", [], {})), None)
