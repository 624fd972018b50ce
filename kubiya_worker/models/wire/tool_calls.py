"""This module joins tool calls from their pieces, which servers mark by index, id, name, or not at all. Pure."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kubiya_worker.models.wire import provider_fields
from kubiya_worker.models.wire.numbers import position
from kubiya_worker.protocol.characters import without_half_surrogates

_ARGUMENTS: Final = ("arguments", "parameters", "input", "args")
_OF_FUNCTION: Final = ("name", *_ARGUMENTS)
_KNOWN: Final = frozenset({"index", "id", "type", "function", "custom", *_OF_FUNCTION})
_KNOWN_OF_FUNCTION: Final = frozenset({*_OF_FUNCTION, "description", "strict"})
FUNCTION: Final = "function"


@dataclass(frozen=True)
class CallPiece:
    index: int | None
    id: str
    name: str
    arguments: str


@dataclass
class StreamedCall:
    """One call; `extra` holds unknown fields, and those of its `function` under that name."""

    index: int | None = None
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    extra: provider_fields.Fields = field(default_factory=dict)

    @property
    def joined(self) -> str:
        return "".join(self.pieces)

    def arguments(self) -> str:
        """Return the raw text of the arguments; for servers that repeat the whole text in each piece, the last one."""
        joined = without_half_surrogates(self.joined)
        if len(self.pieces) > 1 and not is_object(joined):
            last, rest = self.pieces[-1], self.pieces[:-1]
            grown = all(later.startswith(earlier) for earlier, later in zip(rest, self.pieces[1:], strict=True))
            if is_object(last) and (grown or "".join(rest) == last):
                return without_half_surrogates(last)
            if self.pieces[0].strip() == "{}" and is_object("".join(self.pieces[1:])):
                # Skip the empty object that some servers send first.
                return without_half_surrogates("".join(self.pieces[1:]))
        return joined

    def is_whole(self) -> bool:
        return is_object(self.joined)


class Calls:
    """All calls of an answer in order; `tools` are the names that the model may call."""

    def __init__(self, tools: Collection[str] = ()) -> None:
        self._tools = frozenset(tools)
        self._calls: list[StreamedCall] = []

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, pieces: Iterable[Any], *, numbered: bool = False, repeated: bool = False) -> int:
        """Take the pieces of one event and return their size.

        `numbered` says that each is a separate call, by its place; `repeated` that they may be those that came already.
        """
        size = 0
        came = [call for call in self._calls if call.is_whole()] if repeated else []
        for number, raw in enumerate(pieces):
            if not isinstance(raw, Mapping):
                continue
            piece = _piece_of(raw, number if numbered else None)
            same = next((c for c in came if c.name == piece.name and _same_json(c.joined, piece.arguments)), None)
            if same is None:
                size += self._add(raw, piece)
            else:
                came.remove(same)
        return size

    def complete(self) -> list[StreamedCall]:
        """Return the calls, without those that have neither name nor arguments, or only repeat another's name."""
        calls = [call for call in self._calls if call.name.strip() or call.joined.strip()]
        if len(calls) > 1 and _repeats_name(calls[-1], calls[-2]):
            calls.pop()
        return [call for call in calls if not any(_repeats_id(call, other) for other in calls)]

    def _add(self, raw: Mapping[str, Any], piece: CallPiece) -> int:
        function = _function_of(raw)
        call = self._find(piece)
        if call is None:
            call = StreamedCall(index=piece.index)
            self._calls.append(call)
        self._append(call, piece)
        provider_fields.merge(call.extra, raw, _KNOWN)
        function_extra: provider_fields.Fields = call.extra.get(FUNCTION, {})
        provider_fields.merge(function_extra, function, _KNOWN_OF_FUNCTION)
        if function_extra:
            call.extra[FUNCTION] = function_extra
        return len(piece.arguments) + len(piece.name)

    def _find(self, piece: CallPiece) -> StreamedCall | None:
        """Return the call that the piece continues, or None when it begins a new one."""
        if piece.id:
            same_id = [call for call in self._calls if call.id == piece.id]
            same_place = [call for call in same_id if None in (call.index, piece.index) or call.index == piece.index]
            if same_place:
                return None if self._differs(same_place[-1], piece) else same_place[-1]
            if same_id and (not piece.name or self._repeats(same_id[-1], piece)):
                return same_id[-1]
            if same_id:
                return None
        bare = not piece.id and not piece.name  # it can only go on with a call
        fits = (call for call in reversed(self._calls) if piece.index in (None, call.index))
        last = next(fits, None) or next((c for c in reversed(self._calls) if bare and c.index is None), None)
        if last is None:
            return None
        if piece.id and last.id:
            # Another id means another call, except for servers that make up an id for each piece.
            goes_on = not last.is_whole() and (
                not piece.name or (piece.name == last.name and _is_inside(last, piece.arguments))
            )
            return last if goes_on else None
        return None if piece.name and self._begins(last, piece) else last

    def _differs(self, call: StreamedCall, piece: CallPiece) -> bool:
        """Return whether the server gave the same id to two calls."""
        if not piece.name or not call.is_whole() or call.joined.strip() == "{}":
            return False
        arguments = piece.arguments.strip()
        return not arguments or (arguments[0] == "{" and arguments != "{}" and not _same_json(call.joined, arguments))

    def _repeats(self, call: StreamedCall, piece: CallPiece) -> bool:
        """Return whether a piece is the whole call again, at another place."""
        return call.name == piece.name and call.is_whole() and _same_json(call.joined, piece.arguments)

    def _begins(self, last: StreamedCall, piece: CallPiece) -> bool:
        """Return whether a piece begins another call than the last one at its place.

        The piece has a name, and no new id that would tell.
        """
        arguments = last.joined
        if not last.name:
            return False  # its name comes behind its arguments
        if last.is_whole():
            if not piece.arguments.strip():
                return arguments.strip() != "{}"  # this is the beginning of the next call
            return piece.arguments.lstrip()[:1] == "{" and not _same_json(arguments, piece.arguments)
        other = piece.name != last.name and piece.name in self._tools and last.name in self._tools
        if not arguments:
            return other
        return other and piece.arguments.lstrip()[:1] in ("", "{")

    def _append(self, call: StreamedCall, piece: CallPiece) -> None:
        call.id = call.id or piece.id
        if call.index is None:
            call.index = piece.index
        self._name(call, piece.name)
        if not piece.arguments:
            return
        if call.is_whole():
            if piece.arguments.strip() == "{}" or _same_json(call.joined, piece.arguments):
                return  # the server repeats the whole call, or ends it with an empty one
            if call.joined.strip() == "{}" and is_object(piece.arguments):
                call.pieces.clear()
        call.pieces.append(piece.arguments)

    def _name(self, call: StreamedCall, name: str) -> None:
        if not name or (name.strip() == call.name.strip() and call.name + name not in self._tools):
            return
        if not call.name or (name.startswith(call.name) and call.name + name not in self._tools):
            call.name = name  # the first piece of the name, or all of it so far
        elif not call.joined:
            call.name += name


def _function_of(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a call's name and arguments; some servers leave out the object around them."""
    function = decoded(raw.get("function") or raw.get("custom"))
    return function if isinstance(function, Mapping) else {name: raw[name] for name in _OF_FUNCTION if name in raw}


def decoded(value: Any) -> Any:
    """Return an object or a list that a server has encoded as a text; any other value unchanged."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(value, strict=False)
    return value


def _piece_of(raw: Mapping[str, Any], place: int | None) -> CallPiece:
    function, index = _function_of(raw), position(raw.get("index"))
    return CallPiece(
        index=place if index is None else index,
        id="" if raw.get("id") is None else str(raw["id"]),
        name="" if function.get("name") is None else str(function["name"]),
        arguments=_text(next((function[name] for name in _ARGUMENTS if function.get(name) is not None), None)),
    )


def is_object(text: str) -> bool:
    """Return whether a text is one JSON object."""
    text = text.strip()
    if not (text.startswith("{") and text.endswith("}")):
        return False
    try:
        return isinstance(json.loads(text, strict=False), dict)
    except (ValueError, RecursionError):
        return False


def _same_json(one: str, other: str) -> bool:
    if one == other:
        return True
    try:
        return bool(json.loads(one, strict=False) == json.loads(other, strict=False))
    except (ValueError, RecursionError):
        return False


def _is_inside(call: StreamedCall, arguments: str) -> bool:
    """Return whether the arguments can only be the middle or the end of those that have begun."""
    return bool(call.joined) and arguments.lstrip()[:1] != "{"


def _repeats_name(last: StreamedCall, before: StreamedCall) -> bool:
    """Return whether the last call only repeats the name of the one before it, at the end of the stream."""
    return not last.id and not last.joined.strip() and last.name == before.name and last.index == before.index


def _repeats_id(call: StreamedCall, other: StreamedCall) -> bool:
    """Return whether a call without arguments only repeats the id and the name of another."""
    return (
        call is not other
        and bool(call.id and other.joined.strip())
        and not call.joined.strip()
        and (call.id, call.name, call.index) == (other.id, other.name, other.index)
    )


def _text(arguments: Any) -> str:
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
