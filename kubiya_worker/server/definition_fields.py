"""This module finds the fields of definitions in their JSON schema: for `kubiya explain` and for references. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

Object = dict[str, Any]
WORDS: Final = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "array": "list",
    "object": "object",
}
_REF: Final = "$ref"


@dataclass(frozen=True)
class DefinitionField:
    """A field of a definition, or of an object in it.

    `type` is in words, such as "list of objects". `fields` are those of the object, or of the objects in the list.
    """

    name: str
    type: str
    about: str
    required: bool
    schema: Object
    inner: Object

    @property
    def fields(self) -> list[DefinitionField]:
        return fields_of(_objects(self.schema, self.inner), self.inner)

    def find(self, name: str) -> DefinitionField | None:
        """Return the field of this name; upper and lower case are the same."""
        return next((each for each in self.fields if each.name.lower() == name.lower()), None)


def kinds_of(schema: Object) -> list[DefinitionField]:
    """Return the kinds of the schema of a document. The fields of a kind are those of its `spec`."""
    inner = schema["$defs"]
    return [
        DefinitionField(kind["title"], "", kind["description"], False, kind["properties"]["spec"], inner)
        for kind in schema["oneOf"]
    ]


def fields_of(objects: Object, inner: Object) -> list[DefinitionField]:
    """Return the fields of an object's schema, in their order, without those that are refused."""
    required = set(objects.get("required", ()))
    return [
        DefinitionField(name, type_of(field, inner), field.get("description", ""), name in required, field, inner)
        for name, field in objects.get("properties", {}).items()
        if not field.get("deprecated")
    ]


def _objects(schema: Object, inner: Object) -> Object:
    """Return the schema of the object with fields that stands in a schema; an empty one where there is none."""
    for each in _choices(schema, inner):
        nested = _objects(each["items"], inner) if "items" in each else each
        if nested.get("properties"):
            return nested
    return {}


def _choices(schema: Object, inner: Object) -> Iterator[Object]:
    """Yield what a schema can be, without null."""
    if _REF in schema:
        yield from _choices(inner[schema[_REF].rpartition("/")[2]], inner)
    elif "anyOf" in schema:
        for option in schema["anyOf"]:
            yield from _choices(option, inner)
    elif schema.get("type") != "null":
        yield schema


def type_of(schema: Object, inner: Object) -> str:
    """Return the type of a value in words."""
    words = (_word(each, inner) for each in _choices(schema, inner))
    return " or ".join(dict.fromkeys(words))


def _word(schema: Object, inner: Object) -> str:
    if "const" in schema or "enum" in schema:
        return WORDS["string"]  # one of several words; what it is for says which
    if schema.get("type") == "array":
        return f"list of {type_of(schema.get('items', {}), inner)}"
    return WORDS.get(str(schema.get("type")), "any value")
