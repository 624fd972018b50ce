"""This module checks JSON values against a JSON schema, for the keywords of drafts 7 and 2020-12 that answers need.

It is our own because the maintained libraries either bring five packages, or generate and run code from the schema
(which comes from an agent's author, and this process holds keys), or take 16 MB. Other keywords are refused by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

DEEPEST: Final = 64  # the most levels of a schema or value
_NOTES: Final = frozenset(
    (
        *("$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples"),
        *("format", "deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType"),
    )
)
_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "object": lambda x: isinstance(x, dict),
    "array": lambda x: isinstance(x, list),
    "string": lambda x: isinstance(x, str),
    "boolean": lambda x: isinstance(x, bool),
    "null": lambda x: x is None,
    "number": lambda x: isinstance(x, (int, float)) and not isinstance(x, bool),
    "integer": lambda x: isinstance(x, (int, float)) and not isinstance(x, bool) and x == int(x),
}
_NUMBERS: Final[Mapping[str, tuple[str, Callable[[Any, Any], bool]]]] = {
    "minimum": ("at least", lambda x, y: x >= y),
    "maximum": ("at most", lambda x, y: x <= y),
    "exclusiveMinimum": ("more than", lambda x, y: x > y),
    "exclusiveMaximum": ("less than", lambda x, y: x < y),
    "multipleOf": ("a multiple of", lambda x, y: abs(x / y - round(x / y)) < 1e-9),
}
_LENGTHS: Final = {
    "minLength": ("string", "at least", "characters"),
    "maxLength": ("string", "at most", "characters"),
    "minItems": ("array", "at least", "items"),
    "maxItems": ("array", "at most", "items"),
    "minProperties": ("object", "at least", "properties"),
    "maxProperties": ("object", "at most", "properties"),
}
_ONE: Final = ("additionalProperties", "propertyNames", "contains", "not", "if", "then", "else", "additionalItems")
_MANY: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_MAPS: Final = ("properties", "patternProperties", "$defs", "definitions")
_KNOWN: Final = frozenset(
    (
        *_NOTES,
        *_NUMBERS,
        *_LENGTHS,
        *_ONE,
        *_MANY,
        *_MAPS,
        *("type", "enum", "const", "required", "pattern", "items", "uniqueItems", "$ref", "strict", "nullable"),
    )
)


def check(schema: Any) -> None:
    """Raise ValueError, with the place, for a schema with a keyword that is not checked or with a wrong form."""
    _check(schema, schema, "the schema", 0)


def problems(value: Any, schema: Any) -> Iterator[str]:
    """Yield each problem of a value with its place, such as `items[2].price is not a number`."""
    yield from _Fit(schema).look(value, schema, "", 0)


def _check(schema: Any, root: Any, place: str, depth: int) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise ValueError(f"{place} is not an object")
    if depth > DEEPEST:
        raise ValueError(f"{place} is nested too deep")
    for word, value in schema.items():
        if word not in _KNOWN:
            raise ValueError(f"{place} has {word!r}, which is not checked here")
        where = f"{place}.{word}"
        if word in _NUMBERS and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise ValueError(f"{where} is not a number")
        if word in _LENGTHS and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"{where} is not a whole number")
        if word in _ONE or (word == "items" and not isinstance(value, list)):
            _check(value, root, where, depth + 1)
        elif word in _MANY or word == "items":
            if not isinstance(value, list):
                raise ValueError(f"{where} is not a list")
            for at, inner in enumerate(value):
                _check(inner, root, f"{where}[{at}]", depth + 1)
        elif word in _MAPS:
            if not isinstance(value, Mapping):
                raise ValueError(f"{where} is not an object")
            for name, inner in value.items():
                _check(inner, root, f"{where}.{name}", depth + 1)
    _check_simple(schema, root, place)


def _check_simple(schema: Mapping[str, Any], root: Any, place: str) -> None:
    types = schema.get("type", [])
    for name in types if isinstance(types, list) else [types]:
        if name not in _TYPES:
            raise ValueError(f"{place}.type {name!r} is no type")
    for word in ("enum", "required"):
        if not isinstance(schema.get(word, []), list):
            raise ValueError(f"{place}.{word} is not a list")
    for pattern in (schema.get("pattern", ""), *schema.get("patternProperties", {})):
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise ValueError(f"{place}: {pattern!r} is no pattern: {error}") from error
    if "$ref" in schema:
        _resolve(root, schema["$ref"], place)
    if schema.get("multipleOf") == 0:
        raise ValueError(f"{place}.multipleOf is zero")


def _resolve(root: Any, ref: Any, place: str) -> Any:
    if not isinstance(ref, str) or not ref.startswith("#"):
        raise ValueError(f"{place}: $ref {ref!r} does not point into the schema itself")
    found = root
    for part in ref.removeprefix("#").split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(part)] if isinstance(found, list) else found[part]
        except (KeyError, ValueError, IndexError, TypeError):
            raise ValueError(f"{place}: $ref {ref!r} points to nothing") from None
    return found


class _Fit:
    def __init__(self, root: Any) -> None:
        self._root = root

    def fits(self, value: Any, schema: Any, depth: int) -> bool:
        return next(self.look(value, schema, "", depth), None) is None

    def look(self, value: Any, schema: Any, at: str, depth: int) -> Iterator[str]:
        name = at or "the answer"
        if schema is True:
            return
        if schema is False:
            yield f"{name} must not be there"
            return
        if depth > DEEPEST:
            yield f"{name} is nested too deep"
            return
        if "$ref" in schema:
            yield from self.look(value, _resolve(self._root, schema["$ref"], name), at, depth + 1)
        if value is None and schema.get("nullable") is True:
            return
        types = schema.get("type")
        if types is not None:
            types = types if isinstance(types, list) else [types]
            if not any(_TYPES[kind](value) for kind in types):
                yield f"{name} is {_shown(value)}, not {' or '.join(types)}"
                return
        if "enum" in schema and not any(_same(value, one) for one in schema["enum"]):
            yield f"{name} is {_shown(value)}, not one of {_shown(schema['enum'])}"
        if "const" in schema and not _same(value, schema["const"]):
            yield f"{name} is {_shown(value)}, not {_shown(schema['const'])}"
        yield from self._sizes(value, schema, name)
        if isinstance(value, dict):
            yield from self._object(value, schema, at, depth)
        if isinstance(value, list):
            yield from self._array(value, schema, at, depth)
        yield from self._combined(value, schema, at, depth)

    def _sizes(self, value: Any, schema: Mapping[str, Any], name: str) -> Iterator[str]:
        if _TYPES["number"](value):
            for word, (text, holds) in _NUMBERS.items():
                if word in schema and not holds(value, schema[word]):
                    yield f"{name} is {value}, not {text} {schema[word]}"
        for word, (kind, text, unit) in _LENGTHS.items():
            if word in schema and _TYPES[kind](value):
                size, bound = len(value), schema[word]
                if size < bound if text == "at least" else size > bound:
                    yield f"{name} has {size} {unit}, not {text} {bound}"
        if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{name} is {_shown(value)}, which does not match {schema['pattern']!r}"

    def _object(self, value: dict[str, Any], schema: Mapping[str, Any], at: str, depth: int) -> Iterator[str]:
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{f'{at}.' if at else ''}{name} is missing"
        known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for name, inner in value.items():
            place = f"{at}.{name}" if at else str(name)
            rules = [known[name]] if name in known else []
            rules += [rule for pattern, rule in patterns.items() if re.search(pattern, name)]
            if not rules and "additionalProperties" in schema:
                if schema["additionalProperties"] is False:
                    yield f"{place} is not in the schema"
                else:
                    rules = [schema["additionalProperties"]]
            for rule in rules:
                yield from self.look(inner, rule, place, depth + 1)
            if "propertyNames" in schema:
                yield from self.look(name, schema["propertyNames"], f"the name {name!r}", depth + 1)

    def _array(self, value: list[Any], schema: Mapping[str, Any], at: str, depth: int) -> Iterator[str]:
        items = schema.get("items", True)
        first = items if isinstance(items, list) else schema.get("prefixItems", [])
        rest = schema.get("additionalItems", True) if isinstance(items, list) else items
        for number, inner in enumerate(value):
            rule = first[number] if number < len(first) else rest
            yield from self.look(inner, rule, f"{at}[{number}]", depth + 1)
        if "contains" in schema and not any(self.fits(x, schema["contains"], depth + 1) for x in value):
            yield f"{at or 'the answer'} has no item that fits `contains`"
        if schema.get("uniqueItems") is True:
            keys = [json.dumps(x, sort_keys=True) for x in value]
            if len(set(keys)) < len(keys):
                yield f"{at or 'the answer'} has an item twice"

    def _combined(self, value: Any, schema: Mapping[str, Any], at: str, depth: int) -> Iterator[str]:
        name = at or "the answer"
        for rule in schema.get("allOf", ()):
            yield from self.look(value, rule, at, depth + 1)
        if "anyOf" in schema:
            yield from self._one_of(value, schema["anyOf"], at, depth)
        if "oneOf" in schema:
            fitting = sum(self.fits(value, rule, depth + 1) for rule in schema["oneOf"])
            if fitting == 0:
                yield from self._one_of(value, schema["oneOf"], at, depth)
            elif fitting > 1:
                yield f"{name} fits {fitting} of the schemas in oneOf, not one"
        if "not" in schema and self.fits(value, schema["not"], depth + 1):
            yield f"{name} fits what it must not"
        if "if" in schema:
            branch = "then" if self.fits(value, schema["if"], depth + 1) else "else"
            yield from self.look(value, schema.get(branch, True), at, depth + 1)

    def _one_of(self, value: Any, rules: list[Any], at: str, depth: int) -> Iterator[str]:
        """Yield the problems of the schema that the value comes closest to, when none matches."""
        found = [list(self.look(value, rule, at, depth + 1)) for rule in rules]
        if found and all(found):
            yield from min(found, key=len)


def _same(one: Any, other: Any) -> bool:
    """Return whether two JSON values are equal; JSON tells true from 1, but Python does not."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
