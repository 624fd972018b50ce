"""Kinds of values: how to parse each, its name in error messages, and its JSON schema."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from kubiya_worker.protocol.names import WORKER_ID

QUEUE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
VARIABLES: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:,[A-Za-z_][A-Za-z0-9_]*)*")
DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)?")
DEPLOYMENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_/-]{0,199}")
BUILD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
HOST: Final = re.compile(r"[A-Za-z0-9._:%-]+")  # a name, or an address of IPv4 or IPv6
ADDRESS: Final = re.compile(r"(?:[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?")
CREDENTIALS: Final = re.compile(r"//[^/]*@")
UNITS: Final = {"s": 1, "m": 60, "h": 3600}
SIZE: Final = re.compile(r"(\d+)([bkmg]?)", re.IGNORECASE)
SHIFTS: Final = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30}
_SIZE: Final = "^[0-9]+[bBkKmMgG]?$"
BOOLEAN_WORDS: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


@dataclass(frozen=True)
class ValueType:
    """A kind of value. Call it with a raw value to get the parsed one; the message of ValueError says what is valid.

    `schema` is JSON schema. `word` is the name of the value in a usage line. `absolute`, of a kind that names files,
    returns a value that means the same in every folder.
    """

    wanted: str
    read: Callable[[str], Any]
    schema: dict[str, Any]
    word: str = "TEXT"
    absolute: Callable[[str], str] | None = None

    def __call__(self, value: Any) -> Any:
        try:
            return self.read(str(value).strip())
        except ValueError:
            raise ValueError(self.wanted) from None


def _text(value: str) -> str:
    return value


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def read(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError
        return value

    return read


def _boolean(value: str) -> bool:
    try:
        return BOOLEAN_WORDS[value.lower() or "0"]
    except KeyError:
        raise ValueError from None


def without_credentials(value: str) -> str:
    """Return a URL without user and password, for a line that people read."""
    return CREDENTIALS.sub("//…@", value)


def _url(value: str) -> str:
    parts = urlsplit(value)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.port == 0
        or parts.username
        or parts.password
        or any(letter.isspace() for letter in value)
    ):
        raise ValueError
    name = parts.hostname.encode("idna")  # raises UnicodeError, a ValueError, for an impossible name such as `a..b`
    if not HOST.fullmatch(name.decode()):
        raise ValueError
    return value.rstrip("/")


def _address(value: str) -> str:
    """Parse the address of a host, with or without a port."""
    match = ADDRESS.fullmatch(value)
    if not match or not int(match["port"] or 1) or int(match["port"] or 1) > 65535:
        raise ValueError
    return value


def choice(*words: str, upper: bool = False) -> ValueType:
    """Make a kind that accepts one of a few words, in upper or lower case."""

    def read(value: str) -> str:
        word = value.upper() if upper else value.lower()
        if word not in words:
            raise ValueError
        return word

    return ValueType(f"one of {', '.join(words)}", read, {"enum": list(words)}, "|".join(words))


def integer(low: int, high: int) -> ValueType:
    def read(value: str) -> int:
        number = int(value)
        if not low <= number <= high:
            raise ValueError
        return number

    schema = {"type": "integer", "minimum": low, "maximum": high}
    return ValueType(f"a whole number from {low} to {high}", read, schema, "INTEGER")


def _amount(number: float) -> str:
    return f"{number / 86400:g} d" if number >= 172_800 else f"{number:g} s"


def seconds(low: float, high: float) -> ValueType:
    """Make a kind for a duration in seconds, or with a unit: 90, 300s, 5m, 1h."""

    def read(value: str) -> float:
        match = DURATION.fullmatch(value)
        number = float(match[1]) * UNITS[match[2] or "s"] if match else low - 1
        if not low <= number <= high:
            raise ValueError
        return number

    schema = {
        "anyOf": [
            {"type": "number", "minimum": low, "maximum": high},
            {"type": "string", "pattern": f"^{DURATION.pattern}$"},
        ]
    }
    return ValueType(f"a time from {_amount(low)} to {_amount(high)}, such as 90, 300s or 5m", read, schema, "TIME")


def size(low: int, high: int) -> ValueType:
    """Make a kind for a number of bytes, or with a unit as in Docker: 512m, 2g."""

    def read(value: str) -> int:
        match = SIZE.fullmatch(value)
        number = int(match[1]) << SHIFTS[match[2].lower()] if match else low - 1
        if not low <= number <= high:
            raise ValueError
        return number

    schema = {"anyOf": [{"type": "integer", "minimum": low, "maximum": high}, {"type": "string", "pattern": _SIZE}]}
    return ValueType(f"a size from {_bytes(low)} to {_bytes(high)}, such as 512m or 2g", read, schema, "SIZE")


def _bytes(number: int) -> str:
    unit = next(u for u in ("g", "m", "k", "") if number % (1 << SHIFTS[u]) == 0)
    return f"{number >> SHIFTS[unit]}{unit}"


def _cores(value: str) -> float:
    number = float(value)
    if not 0 < number <= 4096:  # refuses NaN, too
        raise ValueError
    return number


def _fraction(value: str) -> float:
    number = float(value)
    if not 0 <= number <= 1:
        raise ValueError
    return number


def _located(value: str) -> str:
    """Make one path absolute. A value with a scheme (`://`) is not a path and stays."""
    return value if "://" in value or not value else str(Path(value).expanduser().absolute())


def _each_located(value: str) -> str:
    return ",".join(_located(part.strip()) for part in value.split(",") if part.strip())


text: Final = ValueType("text", _text, {"type": "string"})
path: Final = ValueType("a file or folder", _text, {"type": "string"}, "PATH", _located)
paths: Final = ValueType("files and folders with commas between", _text, {"type": "string"}, "PATHS", _each_located)
variables: Final = ValueType(
    "names of variables with commas between",
    _matching(VARIABLES),
    {"type": "string", "pattern": f"^{VARIABLES.pattern}$"},
    "NAMES",
)
cores: Final = ValueType(
    "a number of cores such as 1.5", _cores, {"type": "number", "exclusiveMinimum": 0, "maximum": 4096}, "NUMBER"
)
fraction: Final = ValueType(
    "a number from 0 to 1, such as 0.1", _fraction, {"type": "number", "minimum": 0, "maximum": 1}, "NUMBER"
)
queue_id: Final = ValueType(
    "a queue's id or name: letters, digits, '.', '_', '-'; at most 128",
    _matching(QUEUE_ID),
    {"type": "string", "pattern": f"^{QUEUE_ID.pattern}$"},
)
worker_id: Final = ValueType(
    "a worker's id: letters, digits, '.', '_', '-'; at most 128",
    _matching(WORKER_ID),
    {"type": "string", "pattern": f"^{WORKER_ID.pattern}$"},
)
deployment: Final = ValueType(  # Temporal puts a dot or a colon between it and the build
    "a deployment's name: letters, digits, '_', '/', '-'; at most 200",
    _matching(DEPLOYMENT),
    {"type": "string", "pattern": f"^{DEPLOYMENT.pattern}$"},
)
build: Final = ValueType(
    "a build id: letters, digits, '.', '_', '+', '-'; at most 200",
    _matching(BUILD),
    {"type": "string", "pattern": f"^{BUILD.pattern}$"},
)
url: Final = ValueType(
    "a URL such as https://control-plane.example.com, without a user name or password in it",
    _url,
    {"type": "string", "format": "uri"},
    "URL",
)
address: Final = ValueType(
    "an address, host:port",
    _address,
    {"type": "string", "pattern": r"^[A-Za-z0-9\[][A-Za-z0-9._:\]-]*$"},
    "HOST:PORT",
)
level: Final = choice(*LEVELS, upper=True)
boolean: Final = ValueType("true or false", _boolean, {"type": "boolean"}, "BOOLEAN")
