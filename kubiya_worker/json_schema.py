"""JSON Schema: the check of a tool call's arguments, and of an answer for which an agent's author gave a schema.

The keywords are those of drafts 7 and 2020-12 that both need; `$ref` reaches only into the schema itself, nothing is
ever fetched. Why this is no library: docs/decisions/009-json-schema.md.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
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
    "integer": lambda x: (isinstance(x, int) and not isinstance(x, bool)) or (isinstance(x, float) and x.is_integer()),
}
_NUMBERS: Final[Mapping[str, tuple[str, Callable[[Any, Any], bool]]]] = {
    "minimum": ("at least", lambda x, y: x >= y),
    "maximum": ("at most", lambda x, y: x <= y),
    "exclusiveMinimum": ("more than", lambda x, y: x > y),
    "exclusiveMaximum": ("less than", lambda x, y: x < y),
    "multipleOf": ("a multiple of", lambda x, y: _is_multiple(x, y)),
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


def problems(
    value: Any, schema: Any, value_name: str = "the answer", anything: Sequence[Any] | None = None
) -> Iterator[str]:
    """Yield each problem of a value with its place, such as `items[2].price is "1", not number`.

    `value_name` names the value itself. An `anyOf` that equals `anything` lets every value through. Raises an error of
    any kind for a schema that `check` refuses.
    """
    yield from _Checker(schema, value_name, anything).check(value, schema, "", 0)


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
        if not isinstance(name, str) or name not in _TYPES:
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
    value = root
    for part in ref.removeprefix("#").split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, ValueError, IndexError, TypeError):
            raise ValueError(f"{place}: $ref {ref!r} points to nothing") from None
    return value


class _Checker:
    """The check of one value; `root` is the schema into which `$ref` reaches."""

    def __init__(self, root: Any, value_name: str, anything: Sequence[Any] | None) -> None:
        self._root = root
        self._value_name = value_name
        self._anything = anything

    def fits(self, value: Any, schema: Any, depth: int) -> bool:
        return next(self.check(value, schema, "", depth), None) is None

    def check(self, value: Any, schema: Any, at: str, depth: int) -> Iterator[str]:
        name = at or self._value_name
        if schema is True:
            return
        if schema is False:
            yield f"{name} must not be there"
            return
        if depth > DEEPEST:
            yield f"{name} is nested too deep"
            return
        if "$ref" in schema:
            yield from self.check(value, _resolve(self._root, schema["$ref"], name), at, depth + 1)
        if value is None and schema.get("nullable") is True:
            return
        types = schema.get("type")
        if types is not None:
            types = types if isinstance(types, list) else [types]
            if not any(_TYPES[kind](value) for kind in types):
                yield f"{name} is {_short_json(value)}, not {' or '.join(types)}"
                return
        if "enum" in schema and not any(_equal(value, one) for one in schema["enum"]):
            yield f"{name} is {_short_json(value)}, not one of {_short_json(schema['enum'])}"
        if "const" in schema and not _equal(value, schema["const"]):
            yield f"{name} is {_short_json(value)}, not {_short_json(schema['const'])}"
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
            yield f"{name} is {_short_json(value)}, which does not match {schema['pattern']!r}"

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
                    near = difflib.get_close_matches(str(name), list(known), 1)
                    yield f"{place} is not in the schema" + (f" (did you mean {near[0]}?)" if near else "")
                else:
                    rules = [schema["additionalProperties"]]
            for rule in rules:
                yield from self.check(inner, rule, place, depth + 1)
            if "propertyNames" in schema:
                yield from self.check(name, schema["propertyNames"], f"the name {name!r}", depth + 1)

    def _array(self, value: list[Any], schema: Mapping[str, Any], at: str, depth: int) -> Iterator[str]:
        items = schema.get("items", True)
        first = items if isinstance(items, list) else schema.get("prefixItems", [])
        rest = schema.get("additionalItems", True) if isinstance(items, list) else items
        for number, inner in enumerate(value):
            rule = first[number] if number < len(first) else rest
            yield from self.check(inner, rule, f"{at}[{number}]", depth + 1)
        if "contains" in schema and not any(self.fits(x, schema["contains"], depth + 1) for x in value):
            yield f"{at or self._value_name} has no item that fits `contains`"
        if schema.get("uniqueItems") is True:
            keys = [json.dumps(x, sort_keys=True) for x in value]
            if len(set(keys)) < len(keys):
                yield f"{at or self._value_name} has an item twice"

    def _combined(self, value: Any, schema: Mapping[str, Any], at: str, depth: int) -> Iterator[str]:
        name = at or self._value_name
        for rule in schema.get("allOf", ()):
            yield from self.check(value, rule, at, depth + 1)
        if "anyOf" in schema and schema["anyOf"] != self._anything:
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
            yield from self.check(value, schema.get(branch, True), at, depth + 1)

    def _one_of(self, value: Any, rules: list[Any], at: str, depth: int) -> Iterator[str]:
        """Yield the problems with the closest of some schemas when none fits; one for the value's type comes first."""
        problems_of_rules = [list(self.check(value, rule, at, depth + 1)) for rule in rules]
        if not problems_of_rules or not all(problems_of_rules):
            return
        kinds = [self._types(rule) for rule in rules]
        near = [
            told
            for told, kind in zip(problems_of_rules, kinds, strict=True)
            if any(_TYPES[each](value) for each in kind)
        ]
        if near:
            yield from min(near, key=len)
        elif all(kinds):
            yield f"{at or self._value_name} is {_short_json(value)}, not {' or '.join(dict.fromkeys(chain(*kinds)))}"
        else:
            yield from min(problems_of_rules, key=len)

    def _types(self, schema: Any) -> list[str]:
        """Return the types that a schema allows by name; none where it does not say."""
        for _ in range(DEEPEST):
            if not isinstance(schema, Mapping) or "$ref" not in schema:
                break
            schema = _resolve(self._root, schema["$ref"], "$ref")
        types = schema.get("type", []) if isinstance(schema, Mapping) else []
        return list(types) if isinstance(types, list) else [types]


def _is_multiple(value: Any, step: Any) -> bool:
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    try:
        return bool(abs(value / step - round(value / step)) < 1e-9)
    except OverflowError:  # infinity, and whole numbers that no float can hold
        return False


def _equal(one: Any, other: Any) -> bool:
    """Return whether two JSON values are equal; JSON tells true from 1, but Python does not."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _short_json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
