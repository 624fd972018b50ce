"""This module puts together calls whose arguments Google streams in pieces (`partialArgs`, `willContinue`). Pure.

A piece names its place by a JSON path, such as `$.hosts[0].name`; a text comes in several pieces for one place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kubiya_worker.models.wire.native_blocks import Unreadable, words

_LONGEST_LIST: Final = 10_000  # items; a place beyond it is no place of an argument
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d{1,9})\]|\[('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")\]")
_VALUES: Final = ("stringValue", "numberValue", "boolValue", "nullValue")
_SNAKE: Final = re.compile(r"_([a-z])")


def camel(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields under their names in Google's JSON; some servers write them in the way of Python."""
    return {_SNAKE.sub(lambda found: found[1].upper(), str(name)): value for name, value in fields.items()}


@dataclass
class _OpenCall:
    name: str
    identity: str
    args: dict[str, Any] = field(default_factory=dict)
    signature: Any = None  # of the part with which it began


class PartialCalls:
    """The calls of one answer that have begun and not ended."""

    def __init__(self) -> None:
        self._open: list[_OpenCall] = []
        self._any_ended = False

    def feed(self, call: Mapping[str, Any], signature: Any) -> tuple[Mapping[str, Any] | None, Any]:
        """Return the call that ends with this piece and its signature; None while it goes on.

        A call that came whole is returned as it is.
        """
        piece = camel(call)
        name, identity = words(piece.get("name")).strip(), words(piece.get("id"))
        goes_on, parts = piece.get("willContinue") is True, piece.get("partialArgs")
        found = self._of(identity) if not name or any(one.identity == identity != "" for one in self._open) else None
        if found is None:
            if not piece and self._any_ended:
                return None, None  # the mark of an end that the last piece has told
            if not name or not (goes_on or parts):
                return call, signature  # whole, or a piece of nothing: told where all calls are read
            found = _OpenCall(name, identity)
            self._open.append(found)
        found.signature = found.signature or signature
        given = piece.get("args")
        if isinstance(given, Mapping):
            found.args.update(given)
        for part in parts if isinstance(parts, list) else [parts] if isinstance(parts, Mapping) else []:
            if isinstance(part, Mapping):
                _put(found, camel(part))
        if goes_on:
            return None, None
        self._open.remove(found)
        self._any_ended = True
        return _whole(found), found.signature

    def rest(self) -> list[tuple[Mapping[str, Any], Any]]:
        """Return the calls whose end was not marked, for an answer that is whole."""
        ended, self._open = self._open, []
        return [(_whole(one), one.signature) for one in ended]

    def _of(self, identity: str) -> _OpenCall | None:
        same = [one for one in self._open if not identity or one.identity in ("", identity)]
        return same[-1] if same else None


def _whole(call: _OpenCall) -> dict[str, Any]:
    return {"name": call.name, "args": call.args, **({"id": call.identity} if call.identity else {})}


def _put(call: _OpenCall, part: Mapping[str, Any]) -> None:
    """Put a piece in its place."""
    path = words(part.get("jsonPath"))
    kind = next((kind for kind in _VALUES if part.get(kind) is not None), None)
    if kind is None and "nullValue" not in part:
        return  # a place without a value yet
    value = None if kind in (None, "nullValue") else part[kind]
    steps = _steps(path)
    if not steps or isinstance(steps[0], int):
        raise Unreadable(f"a call of {call.name} with an argument in no place: {path[:200]!r}")
    held: Any = call.args
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if isinstance(held, list) and isinstance(step, int) and step < _LONGEST_LIST:
            held.extend([None] * (step + 1 - len(held)))
        elif not isinstance(held, dict) or not isinstance(step, str):
            raise Unreadable(f"a call of {call.name} with an argument in no place: {path[:200]!r}")
        place: Any = step
        before = held[place] if isinstance(held, list) else held.get(place)
        if following is None:
            held[place] = before + value if isinstance(before, str) and isinstance(value, str) else value
        elif before is None:
            held[place] = [] if isinstance(following, int) else {}
        held = held[place]


def _steps(path: str) -> list[str | int]:
    """Return the names and numbers of a JSON path; none for one that is none."""
    at = 1 if path.startswith("$") else 0
    path = path if at or path.startswith(("[", ".")) else f".{path}"
    steps: list[str | int] = []
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            return []
        name, number, quoted = step.groups()
        steps.append(name if name is not None else int(number) if number is not None else _unquoted(quoted))
        at = step.end()
    return steps


def _unquoted(text: str) -> str:
    if text[0] == "'":
        text = '"' + text[1:-1].replace("\\'", "'").replace('"', '\\"') + '"'
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        return text[1:-1]
