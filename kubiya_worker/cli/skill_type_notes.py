"""Notes about types of skills that look mistyped: an unknown type is stored, as some worker may have it.

A run would leave such a skill out and say so, but who has just written the file should read it at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubiya_worker.definition_text import Place, PlacedDocument


def notes(documents: Sequence[PlacedDocument], known: Sequence[str]) -> list[str]:
    """Return a line for each type of a skill that is none of `known` but resembles one, with file and line."""
    lines = []
    for document in documents:
        for path, skill in _skills(document):
            kind = skill.get("type")
            if not isinstance(kind, str) or kind in known:
                continue
            for near in difflib.get_close_matches(kind, known, 1):
                place = document.place((*path, "type"))
                lines.append(f"{place}: no skill of this version has the type {kind!r}. Did you mean {near!r}?")
    return lines


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
