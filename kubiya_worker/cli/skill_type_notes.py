"""Notes about skills that look mistyped: unknown types and keys are stored, as some worker may have them.

A run would leave such a skill out and say so, but who has just written the file should read it at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubiya_worker.definition_text import Place, PlacedDocument


def notes(documents: Sequence[PlacedDocument], known: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a line, with file and line, for each type of a skill that resembles one of `known`, and for unknown keys.

    `known` has the keys of the configuration for each type. Pure.
    """
    lines: list[str] = []
    for document in documents:
        for path, skill in _skills(document):
            kind = skill.get("type")
            if isinstance(kind, str) and kind in known:
                lines += _of_keys(document, path, skill, known[kind])
            elif isinstance(kind, str):
                for near in difflib.get_close_matches(kind, list(known), 1):
                    place = document.place((*path, "type"))
                    lines.append(f"{place}: no skill of this version has the type {kind!r}. Did you mean {near!r}?")
    return lines


def _of_keys(document: PlacedDocument, path: Place, skill: Mapping[str, Any], known: Sequence[str]) -> Iterator[str]:
    configuration = skill.get("configuration")
    for key in configuration if isinstance(configuration, Mapping) else ():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known) or 'none'}"
            place = document.place((*path, "configuration", str(key)))
            yield f"{place}: skills of type {skill['type']!r} have no key {key!r} here, and runs leave it out. {hint}"


def _skills(document: PlacedDocument) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    spec = document.body.get("spec")
    if not isinstance(spec, Mapping):
        return
    if document.body.get("kind") == "Skill":
        yield ("spec",), spec
    skills = spec.get("skills")
    for number, skill in enumerate(skills if isinstance(skills, list) else ()):
        if isinstance(skill, Mapping):
            yield ("spec", "skills", number), skill
