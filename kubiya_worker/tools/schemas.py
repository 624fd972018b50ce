"""JSON schemas of tools in the form that every provider takes, and the way back from its names to the tool's own.

Providers refuse a whole request for one schema that they do not like, each for other reasons: a union at the top, a
`$ref`, an array without `items`, a property whose name holds a blank. The form made here uses only:

    type (one), description, properties, required, items, additionalProperties, anyOf (never at the top),
    enum (of strings), minimum, maximum, minLength, maxLength, minItems, maxItems

It accepts everything that the tool's own schema accepts, so a call that the tool would take is never refused here;
what a keyword outside of this list demands is said in the description where that is short, and the tool itself has
the last word. Property names which providers refuse get other ones; `own_names` turns them back for the tool.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final
from urllib.parse import unquote, urljoin

from kubiya_worker.tools import schema_parts as parts
from kubiya_worker.tools.schema_parts import Schema
from kubiya_worker.tools.text import clean, cut

Names = dict[str, dict[str, str]]  # path of an object in the arguments -> name as sent -> the tool's own name

NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
NAME_LIMIT: Final = 64
MAX_DEPTH: Final = 12  # of nested objects and arrays; what is deeper may be anything
MAX_NODES: Final = 3_000  # of one tool; `$ref`s of `$ref`s grow without bound when they are written out
MAX_PARTS: Final = 50_000  # of one tool's schema that are searched for names
MAX_ENUM: Final = 500
TEXT: Final = 2_000  # characters of a description
NOTE: Final = 200  # characters of what is said of one keyword

_BOUNDS: Final = {
    "string": ("minLength", "maxLength"),
    "number": ("minimum", "maximum"),
    "integer": ("minimum", "maximum"),
    "array": ("minItems", "maxItems"),
}
_TYPES: Final = ("string", "number", "integer", "boolean", "object", "array", "null")
_ALIASES: Final = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "dict": "object",
    "list": "array",
}
_HINTS: Final = {  # which type a schema without one means
    "object": ("properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"),
    "string": ("minLength", "maxLength", "pattern", "format", "contentEncoding"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_DROPPED: Final = ("not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies", "contains")
_SAID: Final = {
    "pattern": "matches {}",
    "format": "format {}",
    "default": "default {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "uniqueItems": "no item twice",
}


@dataclass(frozen=True)
class Normalized:
    """A schema in the form that is sent to models.

    `names` is for `own_names`, and `notes` name the parts of the tool's schema that could not be sent.
    """

    schema: Schema
    names: Names = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def normalized(raw: Any) -> Normalized:
    """Return the schema of a tool's arguments in the form of this module. Never raises, whatever `raw` is."""
    return _Work(raw if isinstance(raw, Mapping) else {}).top()


def own_names(arguments: Any, names: Names) -> Any:
    """Return `arguments` with the tool's own names in place of those that the provider was given."""
    if not names:
        return arguments
    inner = {path[:at] for path in names for at in range(len(path) + 1) if at == len(path) or path[at] == "/"}
    return _with_own_names(arguments, names, inner, "")


def _with_own_names(value: Any, names: Names, inner: set[str], path: str) -> Any:
    if path not in inner:
        return value
    if isinstance(value, list):
        return [_with_own_names(item, names, inner, f"{path}/*") for item in value]
    if not isinstance(value, dict):
        return value
    changed: dict[str, Any] = {}
    mapping = names.get(path, {})
    for key, member in value.items():
        below = f"{path}/{key}"
        changed[mapping.get(key) or key] = _with_own_names(
            member, names, inner, below if below in inner else f"{path}/+"
        )
    return changed


def size_of(schema: Any) -> int:
    """Return the bytes that a schema takes on the wire."""
    return len(json.dumps(schema, ensure_ascii=False).encode("utf-8", "replace"))


def shortened(schema: Any, characters: int) -> Any:
    """Return the schema with each description cut to `characters`; 0 leaves them out."""
    if isinstance(schema, list):
        return [shortened(item, characters) for item in schema]
    if not isinstance(schema, dict):
        return schema
    short: Schema = {}
    for key, value in schema.items():
        if key == "properties" and isinstance(value, dict):  # a property may be called `description`
            short[key] = {name: shortened(member, characters) for name, member in value.items()}
        elif key == "description" and isinstance(value, str):
            if characters:
                short[key] = cut(value, characters)
        else:
            short[key] = shortened(value, characters)
    return short


def _address(base: Any, reference: str) -> str:
    """Return what a reference means beside the schema's own address."""
    try:
        return urljoin(base, reference) if isinstance(base, str) else reference
    except ValueError:  # such as a bracket that is no address of a host
        return reference


class _Work:
    """The normalization of one tool's schema."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._nodes = 0
        self._used_names = set(parts.keys(root))
        self._sent_names: dict[str, dict[str, str]] = {}  # path -> own name -> name as sent
        self._notes: dict[str, None] = {}

    def top(self) -> Normalized:
        flat = self._flat(self._root, ())
        kind = flat.get("type")
        if kind is not None and "object" not in self._kinds({"type": kind}):
            self._notes["its arguments are declared as something else than an object"] = None
            flat = {key: flat[key] for key in ("description",) if key in flat}
        flat = self._without_union({**flat, "type": "object"}, ())
        schema = self._object(flat, "", 0, ())
        names = {
            path: {sent: own for own, sent in given.items() if sent != own} for path, given in self._sent_names.items()
        }
        return Normalized(schema, {path: given for path, given in names.items() if given}, tuple(self._notes))

    def _node(self, raw: Any, path: str, depth: int, refs: tuple[str, ...]) -> Schema | None:
        """Return the schema of a value; {} for one that may be anything, None for one that cannot be (`false`)."""
        if raw is False:
            return None
        if not isinstance(raw, Mapping):
            return {}
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            self._notes["parts that are nested too deeply are not described"] = None
            return {}
        refs = (*refs, *self._references(raw))
        flat = self._flat(raw, refs)
        options = self._options(flat)
        if options is not None and self._is_object(flat):
            flat, options = self._without_union(flat, refs), None
        kinds = self._kinds(flat)
        if options is not None:
            return self._with_description(flat, self._union(options, path, depth, refs, kinds))
        if not kinds:
            return self._with_description(flat, {})
        if len(kinds) == 1:
            return self._typed(kinds[0], flat, path, depth, refs)
        bare = {key: value for key, value in flat.items() if key not in ("description", "title", *_SAID)}
        return self._with_description(
            flat, parts.any_of([self._typed(kind, bare, path, depth, refs) for kind in kinds])
        )

    def _typed(self, kind: str, flat: Schema, path: str, depth: int, refs: tuple[str, ...]) -> Schema:
        if kind == "object":
            return self._object(flat, path, depth, refs)
        schema: Schema = {"type": kind}
        if kind == "array":
            schema["items"] = parts.with_type(self._items(flat, path, depth, refs))
        if kind == "string":
            words = [clean(word) for word in parts.listed(flat) or () if isinstance(word, str)]
            if words and len(words) <= MAX_ENUM:
                schema["enum"] = list(dict.fromkeys(words))
        for name in _BOUNDS.get(kind, ()):
            value = flat.get(name)
            if parts.is_number(value) and (kind in ("number", "integer") or (value >= 0 and float(value).is_integer())):
                schema[name] = value if kind in ("number", "integer") else int(value)
        return self._with_description(flat, schema)

    def _object(self, flat: Schema, path: str, depth: int, refs: tuple[str, ...]) -> Schema:
        declared = flat.get("properties")
        members: dict[str, Any] = dict(declared) if isinstance(declared, Mapping) else {}
        needed = flat.get("required")
        required = [name for name in needed if isinstance(name, str)] if isinstance(needed, list) else []
        for name in required:
            members.setdefault(name, {})
        properties: Schema = {}
        for own, raw in members.items():
            sent = self._sent_name(str(own), path)
            schema = self._node(raw, f"{path}/{sent}", depth + 1, refs)
            if schema is not None:
                properties[sent] = self._titled(parts.with_type(schema), str(own), sent)
        result: Schema = {"type": "object", "properties": properties}
        known = [self._sent_name(name, path) for name in dict.fromkeys(required)]
        if known := [name for name in known if name in properties]:
            result["required"] = known
        additional = flat.get("additionalProperties")
        if isinstance(flat.get("patternProperties"), Mapping):
            additional = True
        if additional is False:
            result["additionalProperties"] = False
        elif isinstance(additional, Mapping) and additional:
            inner = self._node(additional, f"{path}/+", depth + 1, refs)
            result["additionalProperties"] = parts.with_type(inner) if inner else True
        return self._with_description(flat, result)

    def _items(self, flat: Schema, path: str, depth: int, refs: tuple[str, ...]) -> Schema:
        """Return the schema of an array's items; for a tuple, any of its members' types."""
        listed = flat.get("prefixItems")
        if not isinstance(listed, list):
            listed = flat.get("items")
        if isinstance(listed, list):
            nodes = [self._node(item, f"{path}/*", depth + 1, refs) for item in listed]
            return parts.any_of([item for item in nodes if item is not None])
        return self._node(listed, f"{path}/*", depth + 1, refs) or {}

    def _union(self, options: list[Any], path: str, depth: int, refs: tuple[str, ...], kinds: list[str]) -> Schema:
        nodes = [self._node(option, path, depth + 1, refs) for option in options]
        chosen = [option for option in nodes if option is not None]
        if kinds:  # what is said beside a union holds for each part of it, mostly its type
            any_kind = parts.any_of([self._typed(kind, {}, path, depth, refs) for kind in kinds])
            chosen = [option or any_kind for option in chosen]
        return parts.any_of(chosen)

    def _kinds(self, flat: Schema) -> list[str]:
        declared = flat.get("type")
        listed = declared if isinstance(declared, list) else [declared]
        kinds = [_ALIASES.get(kind.lower(), kind.lower()) for kind in listed if isinstance(kind, str)]
        kinds = [kind for kind in dict.fromkeys(kinds) if kind in _TYPES]
        values = parts.listed(flat)
        if not kinds and values:
            kinds = list(dict.fromkeys(parts.type_of(value) for value in values))
        if not kinds:
            kinds = [kind for kind, hints in _HINTS.items() if any(hint in flat for hint in hints)][:1]
        if kinds and flat.get("nullable") is True and "null" not in kinds:
            kinds.append("null")
        return kinds

    def _is_object(self, flat: Schema) -> bool:
        return "object" in self._kinds(flat)

    @staticmethod
    def _options(flat: Schema) -> list[Any] | None:
        for name in ("anyOf", "oneOf"):
            if isinstance(flat.get(name), list) and flat[name]:
                return list(flat[name])
        return None

    def _without_union(self, flat: Schema, refs: tuple[str, ...]) -> Schema:
        """Return an object's schema with the members of all its alternatives; those that all demand are required."""
        for _ in range(MAX_DEPTH):
            options = self._options(flat)
            if options is None:
                return flat
            branches = [self._flat(option, refs) for option in options if isinstance(option, Mapping)]
            branches = [branch for branch in branches if branch.get("type") != "null"]
            flat = {key: value for key, value in flat.items() if key not in ("anyOf", "oneOf")}
            flat = self._either(flat, branches)
        return {key: value for key, value in flat.items() if key not in ("anyOf", "oneOf")}

    def _either(self, base: Schema, branches: list[Schema]) -> Schema:
        members = dict(base["properties"]) if isinstance(base.get("properties"), Mapping) else {}
        schemas_by_name: dict[str, list[Any]] = {}
        for branch in branches:
            inner = branch.get("properties")
            for name, raw in inner.items() if isinstance(inner, Mapping) else ():
                if raw not in schemas_by_name.setdefault(str(name), []):
                    schemas_by_name[str(name)].append(raw)
        for name, raws in schemas_by_name.items():
            together = raws[0] if len(raws) == 1 else {"anyOf": raws}
            members[name] = {"allOf": [members[name], together]} if name in members else together
        demanded = [[x for x in branch.get("required") or () if isinstance(x, str)] for branch in branches]
        always = [name for name in demanded[0] if all(name in other for other in demanded)] if demanded else []
        own = base.get("required")
        base = {**base, "properties": members, "required": [*(own if isinstance(own, list) else ()), *always]}
        if any(names != demanded[0] for names in demanded):
            words = " or ".join(", ".join(names) or "nothing more" for names in demanded[:8])
            base["description"] = f"{clean(base.get('description') or '')} Needs {words}.".strip()
        if any(isinstance(branch.get("additionalProperties"), Mapping) for branch in branches):
            base["additionalProperties"] = True
        nested = [option for branch in branches for option in self._options(branch) or ()]
        return {**base, "anyOf": nested} if nested else base

    def _flat(self, raw: Mapping[str, Any], refs: tuple[str, ...], depth: int = 0) -> Schema:
        """Return `raw` with what its `$ref` and its `allOf` say in it, so that neither is left."""
        flat: Schema = {str(key): value for key, value in raw.items() if key not in ("$ref", "$recursiveRef", "allOf")}
        for name in _DROPPED:
            if name in flat:
                self._notes[f"`{name}` is left out"] = None
        branches = raw.get("allOf")
        more = [part for part in branches if isinstance(part, Mapping)] if isinstance(branches, list) else []
        for reference in self._references(raw):
            target = self._target(reference)
            if target is None:
                self._notes[f"`{cut(clean(reference), 80)}` cannot be looked up"] = None
            elif refs.count(reference) > 1:
                self._notes["a part that holds itself is not described again"] = None
            else:
                more.insert(0, target)
        for part in more:
            inner = () if depth > MAX_DEPTH else tuple(self._references(part))
            if depth > MAX_DEPTH or any(name in refs[-MAX_DEPTH:] and refs.count(name) > 1 for name in inner):
                continue
            flat = parts.both(self._flat(part, (*refs, *inner), depth + 1), flat)
        return flat

    @staticmethod
    def _references(raw: Mapping[str, Any]) -> list[str]:
        given = (raw[name] for name in ("$ref", "$dynamicRef", "$recursiveRef") if name in raw)
        return [reference for reference in given if isinstance(reference, str)][:1]

    def _target(self, reference: str) -> Mapping[str, Any] | None:
        """Return the part that a reference names: `#`, `#/a/pointer`, `#anchor`, or an `$id` before them."""
        head, _, pointer = _address(self._root.get("$id"), reference).partition("#")
        value: Any = self._named_parts.get(head)
        if pointer and not pointer.startswith("/"):
            return self._named_parts.get(f"#{pointer}") if value is not None else None
        for part in pointer.split("/")[1:]:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(value, Mapping) and name in value:
                value = value[name]
            elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
                value = value[int(name)]
            else:
                return None
        return {} if value is True else value if isinstance(value, Mapping) else None

    @cached_property
    def _named_parts(self) -> dict[str, Mapping[str, Any]]:
        """Return the parts that have a name: by the address of their `$id`, or by `#` and their anchor."""
        base = self._root.get("$id")
        address = base if isinstance(base, str) else ""
        found: dict[str, Mapping[str, Any]] = {"": self._root, address.partition("#")[0]: self._root}
        waiting: list[Any] = [self._root]
        for _ in range(MAX_PARTS):
            if not waiting:
                break
            value = waiting.pop()
            if isinstance(value, Mapping):
                anchors = [value.get("$anchor"), value.get("$dynamicAnchor")]
                own = value.get("$id")
                if isinstance(own, str) and own.startswith("#"):  # as drafts before 2019 wrote an anchor
                    anchors.append(own[1:])
                elif isinstance(own, str):
                    found.setdefault(_address(address, own).partition("#")[0], value)
                for name in anchors:
                    if isinstance(name, str) and name:
                        found.setdefault(f"#{name}", value)
            waiting += value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        return found

    def _sent_name(self, own: str, path: str) -> str:
        """Return the name under which a property is sent; the same for the same property in each alternative."""
        sent_names = self._sent_names.setdefault(path, {})
        if own not in sent_names:
            sent_names[own] = own if NAME.fullmatch(own) else self._new_name(own)
        return sent_names[own]

    def _new_name(self, own: str) -> str:
        base = re.sub(r"[^A-Za-z0-9_.-]", "_", own)[:NAME_LIMIT] or "field"
        name, number = base, 1
        while name in self._used_names:
            number += 1
            name = f"{base[: NAME_LIMIT - 6]}_{number}"
        self._used_names.add(name)
        return name

    @staticmethod
    def _titled(schema: Schema, own: str, sent: str) -> Schema:
        """Add the tool's own name to a property that is sent under another name."""
        if own == sent:
            return schema
        about = schema.get("description")
        return {**schema, "description": f"{cut(clean(own), NOTE)}{': ' if about else ''}{about or ''}"}

    def _with_description(self, flat: Schema, schema: Schema) -> Schema:
        """Add the description, and a text for some keywords that are not sent."""
        about = flat.get("description")
        words = clean(about).strip() if isinstance(about, str) else ""
        if not words and isinstance(flat.get("title"), str) and schema.get("type") != "object":
            words = clean(flat["title"]).strip()
        notes = [
            text.format(cut(parts.as_text(flat[name]), NOTE))
            for name, text in _SAID.items()
            if name in flat
            and flat[name] not in (None, False, "", [], {})
            and not (name.startswith("exclusive") and flat[name] is True)  # as draft 4 has it
        ]
        values = parts.listed(flat)
        described = "enum" in schema or "anyOf" in schema or schema.get("type") == "null"
        if values and not described and len(values) <= MAX_ENUM:
            notes.append(f"one of {cut(', '.join(map(parts.as_text, values)), NOTE * 5)}")
        if notes and schema.get("type") not in ("object",):
            words = f"{words} ({'; '.join(notes)})".strip()
        inner = schema.get("description")
        together = words if not inner or inner == words else f"{words} {inner}".strip()
        return {**schema, "description": cut(together, TEXT)} if together else schema
