"""This module finds what is known of a field of a definition, by its path, such as `agent.llm_config.temperature`."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kubiya_worker.errors import UsageError

if TYPE_CHECKING:
    from kubiya_worker.server.definition_fields import DefinitionField

_SKILL: Final = "configuration"  # the field of a skill whose keys depend on the skill's type


@dataclass(frozen=True)
class Explained:
    """It holds what is known at a path, such as `agent.llm_config`, with the fields below it."""

    path: str
    type: str
    about: str
    required: bool
    fields: tuple[Explained, ...] = ()

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def kind(self) -> str:
        """Return the type, and whether the field is required, as a person reads it; empty for a kind."""
        return ", ".join(filter(None, (self.type, "required" if self.required else "")))


def at(path: str) -> Explained:
    """Return what is at a path; raise UsageError, with the nearest name, where there is nothing."""
    here = _root()
    for word in filter(None, path.split(".")):
        known = {each.name.lower(): each for each in here.fields}
        below = known.get(word.lower()) or known.get(word.lower().removesuffix("s"))
        if below is None:
            raise UsageError(_missing(here, word), remedy=_nearest(here, word))
        here = below
    return here


def _missing(here: Explained, word: str) -> str:
    if not here.path:
        return f"There is no kind {word!r}"
    return f"{here.path} has no {word!r}" if here.fields else f"{here.path} has no fields"


def _nearest(here: Explained, word: str) -> str:
    if not here.fields:
        return f"Read what it is for: kubiya explain {here.path}"
    known = {each.name.lower(): each for each in here.fields}
    near = [name for name in known if name.startswith(word.lower())] or difflib.get_close_matches(
        word.lower(), known, 1
    )
    if near:
        return f"Did you mean {known[near[0]].path}?"
    return f"List what there is: kubiya explain {here.path}".rstrip()


def _root() -> Explained:
    from kubiya_worker.server import definition_reference  # imports the models, which other commands do not need
    from kubiya_worker.server.definition_fields import kinds_of

    kinds = kinds_of(definition_reference.schema())
    return Explained("", "", "", False, tuple(_explained(kind.name.lower(), kind) for kind in kinds))


def _explained(path: str, at: DefinitionField) -> Explained:
    if at.name == _SKILL and path.split(".")[-2] in ("skill", "skills"):
        below = _skill_types(path)
    else:
        below = tuple(_explained(f"{path}.{each.name}", each) for each in at.fields)
    return Explained(path, at.type, at.about, at.required, below)


def _skill_types(path: str) -> tuple[Explained, ...]:
    """Return the types of skills that a worker of this version has, each with its keys."""
    from kubiya_worker.tools import toolset

    return tuple(
        Explained(
            f"{path}.{name}",
            "type",
            about,
            False,
            tuple(Explained(f"{path}.{name}.{key}", "", text, False) for key, text in keys.items()),
        )
        for name, about, keys in toolset.described()
    )
