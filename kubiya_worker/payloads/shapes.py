"""JSON read as dataclasses, as Temporal's own converter reads it, with the types of the fields looked up once.

Temporal resolves a dataclass's types again for every payload, which costs more than the rest of the reading.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Final, NamedTuple, Union, get_args, get_origin, get_type_hints
from weakref import WeakKeyDictionary

from temporalio.converter import JSONTypeConverter, value_to_type

Reader = Callable[[Any], Any]


class Shapes(JSONTypeConverter):
    """Reads dataclasses whose fields are all set by their constructor; other types are left to Temporal."""

    def to_typed_value(self, hint: type, value: Any) -> Any:
        if not isinstance(hint, type) or not is_dataclass(hint):
            return JSONTypeConverter.Unhandled
        shape = _shape_of(hint)
        return JSONTypeConverter.Unhandled if shape is None else _instance(hint, shape, value)


SHAPES: Final = Shapes()


class _Field(NamedTuple):
    """A field of a dataclass, and how its value is read; None leaves the value as it is."""

    name: str
    read: Reader | None


Shape = tuple[_Field, ...]

# Weak, so that a class of a workflow that Temporal's sandbox has loaded for one run ends with that run.
_shapes: Final[WeakKeyDictionary[type, Shape | None]] = WeakKeyDictionary()


def _shape_of(kind: type) -> Shape | None:
    if kind not in _shapes:
        hints = get_type_hints(kind)
        all_fields = fields(kind)
        all_in_constructor = all(field.init for field in all_fields)
        _shapes[kind] = (
            tuple(_Field(x.name, _reader_of(hints[x.name])) for x in all_fields) if all_in_constructor else None
        )
    return _shapes[kind]


def _instance(kind: type, shape: Shape, value: Any) -> Any:
    """Return the dataclass. Unknown keys are ignored; TypeError for a wrong type or a missing field."""
    if not isinstance(value, dict):
        raise TypeError(f"Cannot convert to dataclass {kind}, value is {type(value)} not dict")
    given = {}
    for name, read in shape:
        found = value.get(name, MISSING)
        if found is not MISSING:
            try:
                given[name] = found if read is None else read(found)
            except Exception as error:
                raise TypeError(f"Failed converting field {name} on dataclass {kind}") from error
    return kind(**given)


def _reader_of(hint: Any) -> Reader | None:
    """Return how a value of this type is read. Types that are not listed here are read by Temporal, each time anew."""
    if hint is Any:
        return None
    if hint is str or hint is bool:
        return _exactly(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is dict and inner == (str, Any):
        return _object
    if origin is list:
        return _list_of(hint, _reader_of(inner[0]))
    if origin in (Union, UnionType) and len(inner) == 2 and inner[1] is NoneType:
        return _or_none(_reader_of(inner[0]))
    return lambda value: value_to_type(hint, value, [SHAPES])


def _exactly(kind: type) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError(f"Expected value to be {kind.__name__}, was {type(value)}")
        return value

    return read


def _object(value: Any) -> Any:
    if not isinstance(value, dict):
        raise TypeError(f"Expected an object, value was {type(value)}")
    return value


def _list_of(hint: Any, read: Reader | None) -> Reader:
    def read_all(value: Any) -> Any:
        if not isinstance(value, list):  # Temporal turns some other values into lists
            return value_to_type(hint, value, [SHAPES])
        return value if read is None else [read(one) for one in value]

    return read_all


def _or_none(read: Reader | None) -> Reader | None:
    return read and (lambda value: None if value is None else read(value))
