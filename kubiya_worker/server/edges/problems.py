"""This module says what is wrong with a request: the `detail` of a 422, in the form of docs/protocol.md#a1."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from kubiya_worker.server.edges.base import fields_of

Place = Sequence[str | int]
Problem = dict[str, Any]


def problem(place: Place, message: str, kind: str) -> Problem:
    return {"loc": list(place), "msg": message, "type": kind}


def problems(error: ValidationError, model: type[BaseModel], place: Place) -> list[Problem]:
    """Return each problem with its place; an unknown field also has the nearest known name. No value is quoted."""
    listed = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        kind, where = fault["type"], [*place, *fault["loc"]]
        if kind == "extra_forbidden":
            listed.append(_unknown(model, fault["loc"], where))
        else:
            listed.append(problem(where, fault["msg"], kind))
    return listed


def nearest(name: str, known: Sequence[str]) -> str:
    """Return the known name that a person may have meant, or an empty text: one that has it as a word, or is like it.

    Pure.
    """
    name = name.lower()
    having = [each for each in known if name in each.split("_")]
    return next(iter([*having, *difflib.get_close_matches(name, known, 1)]), "")


def _unknown(model: type[BaseModel], path: Place, where: list[str | int]) -> Problem:
    name = str(path[-1])
    known = [field for field, refused in fields_of(_model_at(model, path[:-1])).items() if refused is None]
    near = nearest(name, known)
    text = f"Unknown {'filter' if where[0] == 'query' else 'field'} {name[:60]!r}. "
    if near:
        return {**problem(where, f"{text}Did you mean {near}?", "extra_forbidden"), "ctx": {"nearest": near}}
    listed = f"Known: {', '.join(known)}" if known else "None is taken here"
    return problem(where, text + listed, "extra_forbidden")


def _model_at(model: type[BaseModel], path: Place) -> type[BaseModel]:
    """Return the model of the object at a place inside the model's value."""
    for step in path:
        for name, field in model.model_fields.items():
            if step in (name, field.alias):
                model = next(_models_in(field.annotation), model)
                break
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
