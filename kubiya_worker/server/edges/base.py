"""This module has the three kinds of models, and the types of fields that several models use."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RootModel,
    ValidationInfo,
    model_validator,
)
from pydantic.annotated_handlers import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from kubiya_worker.server.edges import field_help

MAX_NAME: Final = 200  # characters
LARGEST: Final = 10**9  # rows that can be skipped


class _AnyObject:
    """Check that a value is a JSON object, without a look into it or a copy: it can be long."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.custom_error_schema(core_schema.is_instance_schema(dict), "dict_type")

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "object", "additionalProperties": True}


Json = Annotated[dict[str, Any], _AnyObject()]


@dataclass(frozen=True)
class NotSupported:
    """Mark a field that other control planes take and this one refuses by name.

    `instead` is what to do. An empty value asks for nothing and is accepted, as is one of `harmless`: published clients
    send fields that nobody has set.
    """

    instead: str
    harmless: tuple[Any, ...] = ()

    def asks_nothing(self, value: Any) -> bool:
        return not value or value in self.harmless

    def _refuse(self, value: Any, info: ValidationInfo) -> Any:
        if self.asks_nothing(value):
            return None
        text = "not supported yet: {name}. {instead}"
        raise PydanticCustomError(
            "not_supported", text, {"name": (info.field_name or "").rstrip("_"), "instead": self.instead}
        )

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_after_validator_function(self._refuse, core_schema.any_schema())

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"description": f"Not supported yet; only an empty value is taken. {self.instead}", "deprecated": True}


class Strict(BaseModel):
    """A body that a person sends: unknown fields and wrong types are refused, and null is the same as no field."""

    model_config = ConfigDict(
        extra="forbid", strict=True, protected_namespaces=(), hide_input_in_errors=True, defer_build=True
    )

    nullable: ClassVar[frozenset[str]] = frozenset()  # fields whose null says something

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema, with what each field is for, and the fields in the order in which people need them."""
        schema = handler(core)
        own = handler.resolve_ref_schema(schema)
        own |= field_help.described(own, *(each.__name__ for each in cls.__mro__))
        return schema

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        known = fields_of(cls)
        return {name: value for name, value in body.items() if not _says_nothing(cls, known, name, value)}


class Filters(BaseModel):
    """A query string: unknown filters are refused, since a filter that is ignored shows too much. Empty is left out."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), hide_input_in_errors=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, query: Any) -> Any:
        return {k: v for k, v in query.items() if v or k not in cls.model_fields} if isinstance(query, dict) else query


class Wire(BaseModel):
    """A body that a worker sends, as docs/protocol.md#a11 types it: unknown fields are ignored."""

    model_config = ConfigDict(protected_namespaces=(), hide_input_in_errors=True, defer_build=True)

    def given(self) -> Json:
        """Return the fields that the body sets, without null ones; nothing inside them is copied, as it can be long."""
        fields = self.model_fields_set
        return {name: _plain(value) for name, value in self.__dict__.items() if value is not None and name in fields}


def _plain(value: Any) -> Any:
    return {**value.given(), **(value.model_extra or {})} if isinstance(value, Wire) else value


@functools.cache
def fields_of(model: type[BaseModel]) -> dict[str, NotSupported | None]:
    """Return the names of a model's fields as they are sent; those that are refused have their mark."""
    if issubclass(model, RootModel):
        return dict.fromkeys(model.model_fields["root"].annotation.__annotations__)
    return {
        field.alias or name: next((mark for mark in field.metadata if isinstance(mark, NotSupported)), None)
        for name, field in model.model_fields.items()
    }


def _says_nothing(model: type[Strict], known: dict[str, NotSupported | None], name: str, value: Any) -> bool:
    if name not in known or name in model.nullable:
        return False
    mark = known[name]
    return value is None or (mark is not None and mark.asks_nothing(value))


# -- types of fields


def _filled(text: str, info: ValidationInfo) -> str:
    if not text.strip():
        raise PydanticCustomError("string_too_short", "{name} must not be empty", {"name": info.field_name or ""})
    return text


def named(low: int = 1, high: int = MAX_NAME) -> AfterValidator:
    """Return the check of a name's length in characters, without the spaces around it."""

    def check(text: str, info: ValidationInfo) -> str:
        text = _filled(text, info).strip()
        if not low <= len(text) <= high:
            context = {"name": info.field_name or "", "low": low, "high": high}
            raise PydanticCustomError("string_length", "{name} must have {low} to {high} characters", context)
        return text

    return AfterValidator(check)


@dataclass(frozen=True)
class OneOf:
    """The check of a word, with an error that lists the possible ones; the schema for editors lists them too."""

    words: tuple[str, ...]

    def _check(self, word: str, info: ValidationInfo) -> str:
        if word not in self.words:
            context = {"name": info.field_name or "", "words": ", ".join(self.words)}
            raise PydanticCustomError("enum", "{name} is one of {words}", context)
        return word

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "enum": list(self.words)}


def one_of(*words: str) -> OneOf:
    return OneOf(words)


def within(low: float, high: float, unit: str = "") -> AfterValidator:
    """Return the check of a number."""

    def check(number: float, info: ValidationInfo) -> float:
        if not low <= number <= high:
            ends = (str(end) if isinstance(end, int) else f"{end:g}" for end in (low, high))  # not 3.1536e+07
            context = {"name": info.field_name or "", "range": f"{' to '.join(ends)}{unit and ' '}{unit}"}
            raise PydanticCustomError("value_error", "{name} must be {range}", context)
        return number

    return AfterValidator(check)


def checked_by(check: Callable[[Any], Any]) -> AfterValidator:
    """Return the validator that calls `check`, whose ValueError says what is wrong."""

    def validate(value: Any) -> Any:
        try:
            check(value)
        except ValueError as error:
            raise PydanticCustomError("value_error", "{text}", {"text": str(error)}) from error
        return value

    return AfterValidator(validate)


def cut(low: int, high: int) -> BeforeValidator:
    """Return the reader of a number in a query: a number that is too small or too large is cut to what is served."""

    def read(text: Any) -> int:
        try:
            return max(low, min(high, int(text)))
        except (TypeError, ValueError):
            raise PydanticCustomError("int_parsing", "Input should be a valid integer") from None

    return BeforeValidator(read)


Filled = Annotated[str, AfterValidator(_filled)]
Name = Annotated[str, named()]
Skip = Annotated[int, cut(0, LARGEST)]
Number = Annotated[float, Field(strict=False)]  # also as text: "0.2"
Whole = Annotated[int, Field(strict=False)]


class Nothing(Strict):
    """A request without fields."""


class NoFilters(Filters):
    """A request without filters."""
