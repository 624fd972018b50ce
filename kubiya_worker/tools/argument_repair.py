"""This module repairs a model's almost correct call, but only if it can mean just one thing. Pure.

A cut text is never completed, and nothing inside a text changes. The caller tells the person about each repair.
"""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from kubiya_worker.protocol.characters import cleaned

_DEPTH: Final = 3  # how often an object may have been encoded as a text
_FENCE: Final = re.compile(r"(```|~~~|`)(?:[\w+-]+(?=\s))?\s*(.*?)\s*(?:\1|(?<=}))", re.DOTALL)
_LABEL: Final = re.compile(
    r"(?:(?:tool|function)[_ ])?(?:json|arguments|args|parameters|params|kwargs|input)\s*[:=]?\s*(?={)", re.IGNORECASE
)
_MARK: Final = (
    r"(?:<\|[^|<>]*\|>|<\uff5c[^\uff5c<>]*\uff5c>|</?(?:tool_calls?|function_calls?|function|arguments|end_of_turn|s)>"
    r"|\[/?[A-Z_]{4,}\]|\0)"
)
_UNSEEN: Final = "\u200b\u200c\u200d\u2060\ufeff"  # characters without width
_TOKEN: Final = re.compile(  # of JSON, and of what models write in its place
    r"""(?P<triple>\"{3}(?:[^\\]|\\.)*?\"{3}|'{3}(?:[^\\]|\\.)*?'{3})"""
    r'|(?P<double>"(?:[^"\\]|\\.)*")'
    r"|(?P<tick>`[^`\\$]*`)"
    r"|(?P<single>'(?:[^'\\]|\\.)*')"
    r"|(?P<curly>(?:[\u201c\u201d](?:[^\u201c-\u201e\\]|\\.)*\u201d"  # double typographic quotes, as in English
    r"|\u201e(?:[^\u201c-\u201e\\]|\\.)*[\u201c\u201d]"  # as in German
    r"|«(?:[^«»\\]|\\.)*»|\u2018(?:[^\u2018\u2019\\]|\\.)*\u2019|\uff02(?:[^\uff02\\]|\\.)*\uff02))"
    r"|(?P<comment>(?://|#)[^\n]*|/\*.*?\*/)"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_-]*)"
    r"|(?P<number>[+-]?(?:\d[\d.eE+-]*|\.\d+))"
    r"|(?P<mark>=>|[][{},:;=\uff1a\uff0c\uff5b\uff5d])"
    rf"|(?P<blank>(?:[\s{_UNSEEN}]|\\[nrt])+)",
    re.DOTALL,
)
_PAIRS: Final = (('"', '"'), ("'", "'"), ("(", ")"), ("{", "}"))
_QUOTE: Final = re.compile(r'((?:[^\\]|^)(?:\\\\)*)"')  # one that no backslash escapes
_ESCAPE: Final = re.compile(r"\\.|[\0-\x1f]", re.DOTALL)
# A backslash in Python's quotes that means different things to different readers.
_UNCLEAR: Final = re.compile(r"""(?:^|[^\\])(?:\\\\)*\\[^\\'"bfnrtu/]""", re.DOTALL)
_WIDE: Final = {"\uff1a": ":", "\uff0c": ",", "\uff5b": "{", "\uff5d": "}"}  # marks of East Asian keyboards
_OTHER: Final = {"=>": ":", "=": ":", ";": ","}  # marks of other notations
_LITERALS: Final = {
    **dict.fromkeys(("None", "null", "NULL", "undefined", "nil"), "null"),
    **dict.fromkeys(("True", "true", "TRUE"), "true"),
    **dict.fromkeys(("False", "false", "FALSE"), "false"),
}
_VALUE_ENDS: Final = ("double", "single", "curly", "tick", "triple", "number", "word")
_MEMBER: Final = re.compile(r'"[A-Za-z_][\w-]*"\s*:')
_MARKS_AROUND: Final = re.compile(rf"^(?:\s*{_MARK})+|(?:{_MARK}\s*)+$")
_XML: Final = re.compile(r"</\w+>$")
_TEMPLATE: Final = re.compile(
    r"<[|\uff5c][^|\uff5c<>]*[|\uff5c]?>?|\[/?[A-Z_]{4,}\]|</?(?:tool_calls?|function_calls?|function|invoke|tool)>"
)
_NUMBER: Final = re.compile(r"^\d+[.)]? +|^\d+[.)]|[:#@. _-]+\d+$| ?[(\[]\d+[)\]]?$")
_NAMED: Final = re.compile(r"\bname=[\"']([^\"']+)[\"']")  # in a tag: <invoke name="shell">
_EDGES: Final = re.compile(r"^(?:[^\w\\]|\\[nrt])+|(?:[^\w\\]|\\[nrt])+$")
_SPACES: Final = re.compile(r"::|[.:/]|(?:(?<=^functions)|(?<=^default_api)|(?<=^tools)|(?<=^tool))_{1,2}")
_BEFORE: Final = re.compile(r"^(?:to|name|function|tool)=")
_INVISIBLE: Final = re.compile(r"[\0\u200b-\u200d\u2060\ufeff]")
_AROUND: Final = " \t\r\n`\"'“”«»*#@$<>[]();,:/"


@dataclass(frozen=True)
class Repair:
    """A repair: `text` replaces the model's text, and `what` tells a person what was wrong."""

    text: str
    what: str


def repaired_arguments(raw: str) -> Repair | None:
    """Return the arguments as one JSON object; None if they need no repair, or cannot be repaired."""
    text, slips = raw, list[str]()
    for _ in range(_DEPTH):
        value = _loaded(text)
        if value is _BROKEN:
            text, more_slips = _without_slips(text)
            slips += more_slips
            value = _loaded(text)
        if isinstance(value, dict):
            scrubbed = cleaned(value)
            if scrubbed != value:
                text, slips = json.dumps(scrubbed, ensure_ascii=False), [*slips, "half a character"]
            return Repair(text, " and ".join(dict.fromkeys(slips))) if slips else None
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
            text, slips = json.dumps(value[0], ensure_ascii=False), [*slips, "a list around the object"]
            continue
        if value is None:
            return Repair("{}", "null in place of an object")
        if value == []:  # PHP writes an object without fields so
            return Repair("{}", "an empty list in place of an object")
        if not isinstance(value, str) or not value.strip():
            return None
        text, slips = value, [*slips, "an object encoded as a text"]
    return None


def repaired_name(name: str, known: Collection[str]) -> str | None:
    """Return the one known tool that a decorated name means; None for a name that is known, or that cannot be matched.

    These parts are ignored: blanks and quotes, namespaces before it, marks of a template, a number after it.
    """
    if name in known:
        return None
    candidates: set[str] = set()
    name = _INVISIBLE.sub("", name)
    for part in (*_TEMPLATE.split(name), *_NAMED.findall(name)):
        part = _BEFORE.sub("", _XML.sub("", part).strip(_AROUND))
        bare = _EDGES.sub("", part)
        for text in (part, bare, _NUMBER.sub("", part), _NUMBER.sub("", bare), _once(part)):
            spaces = _SPACES.split(text)
            candidates.update(text[len(text) - len(rest) :] for rest in _endings(text, len(spaces)))
    matches = {candidate for candidate in candidates if candidate in known}
    return matches.pop() if len(matches) == 1 else None


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


def _once(text: str) -> str:
    """Return the half of a text that says the same twice, as `shellshell`."""
    half = text[: len(text) // 2]
    return half if half + half == text else text


def _without_slips(text: str) -> tuple[str, list[str]]:
    """Return the text without parts around an object or between its members that are not JSON; and those parts."""
    slips: list[str] = []
    stripped = text.strip()
    if stripped.startswith("\ufeff"):
        stripped = stripped.removeprefix("\ufeff").strip()
        slips.append("a byte order mark")
    bare = _MARKS_AROUND.sub("", stripped).strip()
    if bare != stripped:
        slips.append("marks of a template")
    while (fence := _FENCE.fullmatch(bare)) is not None:
        bare = fence[2].strip()
        slips.append("a code fence")
    bare, around = _unwrapped(bare)
    slips += around
    label = _LABEL.match(bare)
    if label is not None:
        bare = bare[label.end() :]
        slips.append("a word before the object")
    if _loaded(bare) is not _BROKEN:
        return bare, slips
    once = _said_once(bare)
    if once is not None:
        return once, [*slips, "an object that was sent twice"]
    encoded = bare[:1] == "{" and ('"' in bare or "\\u0022" in bare) and not re.search(r'(?<!\\)"', bare)
    if encoded and isinstance(_loaded(f'"{bare}"'), str):
        return f'"{bare}"', slips  # an object encoded as a text, without the quotes around it
    scanned, more_slips = _scanned(bare)
    return (scanned, slips + more_slips) if _loaded(scanned) is not _BROKEN else (text, [])


def _unwrapped(text: str) -> tuple[str, list[str]]:
    """Return the object that stands in quotes or parentheses, twice in braces, or is written for a web page."""
    repairs: list[str] = []
    if "&quot;" in text and '"' not in text:
        text = html.unescape(text)
        repairs.append("characters written for a web page")
    for before, behind in _PAIRS:
        inner = text[1:-1].strip()
        if text[:1] == before and text[-1:] == behind and isinstance(_loaded(inner), dict):
            return inner, [*repairs, f"{before} {behind} around the object"]
    return text, repairs


def _said_once(text: str) -> str | None:
    """Return the one of two objects that is meant: they are equal, or one is empty. None for different ones."""
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    rest = _loaded(text[end:])
    if not isinstance(value, dict) or not isinstance(rest, dict):
        return None
    return text[:end] if rest == value or not rest else text[end:] if not value else None


def _scanned(text: str) -> tuple[str, list[str]]:
    """Write the first object or list of a text as JSON; return the text as it is when something in it is unclear."""
    pieces: list[str] = []
    slips: list[str] = []
    depth = at = 0
    ends_value = False  # whether a member of the object is complete
    while at < len(text):
        token = _TOKEN.match(text, at)
        lexeme = token[0] if token is not None else ""
        if lexeme in _WIDE:
            lexeme = _WIDE[lexeme]
            slips.append("a wide mark in place of one of JSON")
        elif lexeme in _OTHER and depth:
            lexeme = _OTHER[lexeme]
            slips.append("a mark of another notation in place of one of JSON")
        if token is None or (not depth and lexeme not in "{[" and token.lastgroup not in ("blank", "comment")):
            return text, []
        kind, at = token.lastgroup or "", token.end()
        if kind == "mark":
            depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(lexeme, 0)
        if lexeme == "," and "".join(pieces[-1:]) not in ("", "{", "[", ",", ":") and _closes(text, at):
            slips.append("a comma before a closing bracket")
            continue
        written, slip = _as_json(lexeme, kind, text[at:])
        if written is None:
            return text, []
        if kind == "double" and ends_value and _MEMBER.match(text, at - len(lexeme)):
            pieces.append(",")
            slips.append("no comma between two members")
        if kind not in ("comment", "blank"):
            ends_value = depth == 1 and (kind in _VALUE_ENDS or lexeme in ("}", "]")) and "".join(pieces[-1:]) == ":"
        slips += [slip] if slip else []
        if written:
            pieces.append(written)
        if kind == "mark" and not depth:
            break
    rest = text[at:].strip()
    if rest == ",":
        slips.append("a comma at the end")
    elif rest and not re.search(r"[{\[\"']", rest):
        slips.append("text after the object")
    elif rest:
        return text, []
    return "".join(pieces), slips


def _closes(text: str, at: int) -> bool:
    """Return whether a closing bracket is next."""
    while (token := _TOKEN.match(text, at)) and token.lastgroup in ("blank", "comment"):
        at = token.end()
    return text[at : at + 1] in ("}", "]")


def _as_json(token: str, kind: str, rest: str) -> tuple[str | None, str]:
    """Return a token as JSON, None when it can mean several things, and what was wrong with it."""
    if kind == "comment":
        return "", "a comment"
    if kind == "blank":
        return "", "" if not token.strip(" \t\r\n") else "a blank that JSON does not know"
    if kind == "double":
        inner = _ESCAPE.sub(_escaped, token)
        if inner == token:
            return token, ""
        return inner, "an escaped quote" if "\\'" in token else "a control character within a text"
    if kind == "curly":
        inner = _ESCAPE.sub(_escaped, _QUOTE.sub(r"\1\"", token[1:-1]))
        return f'"{inner}"', "typographic quotes in place of plain ones"
    if kind == "single":
        if _UNCLEAR.search(token):
            return None, ""
        try:
            value = ast.literal_eval(token.replace("\n", "\\n").replace("\r", "\\r"))
        except (ValueError, SyntaxError):
            return None, ""
        return json.dumps(value, ensure_ascii=False), "single quotes in place of double ones"
    if kind == "tick":
        return json.dumps(token[1:-1], ensure_ascii=False), "backquotes in place of double quotes"
    if kind == "triple":
        quoted = token[3:-3]
        return (
            (None, "") if "\\" in quoted else (json.dumps(quoted, ensure_ascii=False), "three quotes in place of one")
        )
    if kind == "number":
        plain = token.removeprefix("+")
        plain = f"0{plain}" if plain.startswith(".") else f"{plain}0" if plain.endswith(".") else plain
        return plain, "" if plain == token else "a number that is not written as in JSON"
    if kind == "word":
        if rest.lstrip()[:1] in (":", "="):
            return json.dumps(token), "a name without quotes"
        literal = _LITERALS.get(token)
        return literal, "a word of Python" if literal and literal != token else ""
    return token, ""


def _escaped(match: re.Match[str]) -> str:
    """Return an escape or a control character of a text as JSON writes it."""
    text = match[0]
    if text == "\\'":
        return "'"
    return json.dumps(text)[1:-1] if text[-1] < " " else text
