"""This module repairs a model's almost correct call, but only if it can mean just one thing. Pure.

A cut text is never completed, and nothing inside a text changes. The caller tells the person about each repair.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.protocol.characters import cleaned

_DEPTH: Final = 3  # how often an object may have been encoded as a text
_FENCE: Final = re.compile(r"```[\w+-]*[ \t]*\r?\n?(.*?)\s*```", re.DOTALL)
_MARK: Final = r"(?:<\|[^|<>]*\|>|</?tool_call>|</?function_call>|</?arguments>)"
_MARKS_AROUND: Final = re.compile(rf"^(?:\s*{_MARK})+|(?:{_MARK}\s*)+$")
_TEMPLATE: Final = re.compile(r"<\|[^|<>]*\|?>?")
_NUMBER: Final = re.compile(r"[:#]\d+$")
_SPACES: Final = re.compile(r"::|[.:/]")
_AROUND: Final = " \t\r\n`\"'"


@dataclass(frozen=True)
class Repair:
    """A repair: `text` replaces the model's text, and `what` tells a person what was wrong."""

    text: str
    what: str


def repaired_arguments(raw: str) -> Repair | None:
    """Return the arguments as one JSON object; None if they need no repair, or cannot be repaired."""
    text, what = raw, list[str]()
    for _ in range(_DEPTH):
        value = _loaded(text)
        if value is _BROKEN:
            text, found = _without_slips(text)
            what += found
            value = _loaded(text)
        if isinstance(value, dict):
            scrubbed = cleaned(value)
            if scrubbed != value:
                text, what = json.dumps(scrubbed, ensure_ascii=False), [*what, "half a character"]
            return Repair(text, " and ".join(dict.fromkeys(what))) if what else None
        if value is None:
            return Repair("{}", "null in place of an object")
        if not isinstance(value, str) or not value.strip():
            return None
        text, what = value, [*what, "an object encoded as a text"]
    return None


def repaired_name(name: str, known: Collection[str]) -> str | None:
    """Return the one known tool that a decorated name means; None for a name that is known, or that cannot be matched.

    These parts are ignored: blanks and quotes, namespaces before it, marks of a template, a number after it.
    """
    if name in known:
        return None
    candidates: set[str] = set()
    for part in _TEMPLATE.split(name):
        part = part.strip(_AROUND).removeprefix("to=").removesuffix("()")
        for text in (part, _NUMBER.sub("", part)):
            spaces = _SPACES.split(text)
            candidates.update(text[len(text) - len(rest) :] for rest in _endings(text, len(spaces)))
    found = {candidate for candidate in candidates if candidate in known}
    return found.pop() if len(found) == 1 else None


_BROKEN: Final = object()


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _BROKEN


def _endings(text: str, count: int) -> list[str]:
    """Return the text, and the text after each of its namespaces."""
    endings = [text]
    for _ in range(count - 1):
        match = _SPACES.search(endings[-1])
        if match is None:
            break
        endings.append(endings[-1][match.end() :])
    return [ending.strip(_AROUND) for ending in endings]


def _without_slips(text: str) -> tuple[str, list[str]]:
    """Return the text without parts around an object or between its members that are not JSON; and those parts."""
    what: list[str] = []
    stripped = text.strip()
    if stripped.startswith("\ufeff"):
        stripped = stripped.removeprefix("\ufeff").strip()
        what.append("a byte order mark")
    bare = _MARKS_AROUND.sub("", stripped).strip()
    if bare != stripped:
        what.append("marks of a template")
    fence = _FENCE.fullmatch(bare)
    if fence is not None:
        bare = fence[1].strip()
        what.append("a code fence")
    if _loaded(bare) is not _BROKEN:
        return bare, what
    once = _said_once(bare)
    if once is not None:
        return once, [*what, "an object that was sent twice"]
    scanned, slips = _scanned(bare)
    return (scanned, what + slips) if _loaded(scanned) is not _BROKEN else (text, [])


def _said_once(text: str) -> str | None:
    """Return the first of two equal objects; None for different ones, as it is unknown which one is meant."""
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return text[:end] if isinstance(value, dict) and _loaded(text[end:]) == value else None


def _scanned(text: str) -> tuple[str, list[str]]:
    """Leave out commas before a closing bracket, and escape control characters inside of texts."""
    characters: list[str] = []
    slips: list[str] = []
    inside = escaped = False
    before = ""  # the last character outside of texts that is no blank
    for at, char in enumerate(text):
        if inside:
            if char < " ":
                slips.append("a control character within a text")
                char = json.dumps(char)[1:-1]
                escaped = False
            elif escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                inside = False
            characters.append(char)
            continue
        if char == "," and before not in ("", "{", "[", ",", ":"):
            rest = text[at + 1 :].lstrip()
            if rest[:1] in ("}", "]", ""):
                slips.append("a comma before a closing bracket" if rest else "a comma at the end")
                continue
        inside = char == '"'
        before = before if char.isspace() else char
        characters.append(char)
    return "".join(characters), slips
