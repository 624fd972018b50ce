"""Kinds of values: how each is read, what it is called in an error, and its JSON schema."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

QUEUE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)?")
UNITS: Final = {"s": 1, "m": 60, "h": 3600}
WORDS: Final = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class Kind:
    """Called with a raw value it gives the parsed one; ValueError says what is wanted. `schema` is JSON schema."""

    wanted: str
    read: Callable[[str], Any]
    schema: dict[str, Any]

    def __call__(self, value: Any) -> Any:
        try:
            return self.read(str(value).strip())
        except ValueError:
            raise ValueError(self.wanted) from None


def _text(value: str) -> str:
    return value


def _queue_id(value: str) -> str:
    if not QUEUE_ID.fullmatch(value):
        raise ValueError
    return value


def _boolean(value: str) -> bool:
    try:
        return WORDS[value.lower() or "0"]
    except KeyError:
        raise ValueError from None


def _url(value: str) -> str:
    parts = urlsplit(value)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.port == 0
        or parts.username
        or parts.password
    ):
        raise ValueError
    return value.rstrip("/")


def choice(*words: str, upper: bool = False) -> Kind:
    """One of a few words, in any case."""

    def read(value: str) -> str:
        word = value.upper() if upper else value.lower()
        if word not in words:
            raise ValueError
        return word

    return Kind(f"one of {', '.join(words)}", read, {"enum": list(words)})


def integer(low: int, high: int) -> Kind:
    def read(value: str) -> int:
        number = int(value)
        if not low <= number <= high:
            raise ValueError
        return number

    schema = {"type": "integer", "minimum": low, "maximum": high}
    return Kind(f"a whole number from {low} to {high}", read, schema)


def _amount(number: float) -> str:
    return f"{number / 86400:g} d" if number >= 172_800 else f"{number:g} s"


def seconds(low: float, high: float) -> Kind:
    """A duration: a number of seconds, or one with a unit: 90, 300s, 5m, 1h."""

    def read(value: str) -> float:
        found = DURATION.fullmatch(value)
        number = float(found[1]) * UNITS[found[2] or "s"] if found else low - 1
        if not low <= number <= high:
            raise ValueError
        return number

    schema = {
        "anyOf": [
            {"type": "number", "minimum": low, "maximum": high},
            {"type": "string", "pattern": f"^{DURATION.pattern}$"},
        ]
    }
    return Kind(f"a time from {_amount(low)} to {_amount(high)}, such as 90, 300s or 5m", read, schema)


text: Final = Kind("text", _text, {"type": "string"})
queue_id: Final = Kind(
    "a queue's id or name: letters, digits, '.', '_', '-'; at most 128",
    _queue_id,
    {"type": "string", "pattern": f"^{QUEUE_ID.pattern}$"},
)
url: Final = Kind(
    "a URL such as https://control-plane.example.com, without a user name or password in it",
    _url,
    {"type": "string", "format": "uri"},
)
level: Final = choice(*LEVELS, upper=True)
boolean: Final = Kind("true or false", _boolean, {"type": "boolean"})
