"""This module sends the folders of Agent Skills with a definition: `files_from` of a definition file becomes `files`.

`files_from` is a folder beside the file: one with a SKILL.md, or a folder of such folders. What a worker would refuse
is refused here, with the line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kubiya_worker.cli.definition_files import STANDARD_INPUT, Faults
from kubiya_worker.definition_text import PlacedDocument
from kubiya_worker.tools.agent_skills import folder, given

TYPE: Final = "agent_skills"
KEY: Final = "files_from"


def filled(documents: Sequence[PlacedDocument]) -> list[PlacedDocument]:
    """Return the documents, with the files of skills in place of `files_from`. Raises Faults with each place."""
    documents_filled, faults = [], list[str]()
    for document in documents:
        spec = document.body.get("spec")
        alone = document.body.get("kind") == "Skill"  # the skill is the definition itself
        skills = ([spec] if alone else spec.get("skills")) if isinstance(spec, dict) else None
        if not isinstance(spec, dict) or not isinstance(skills, list):
            documents_filled.append(document)
            continue
        base = Path() if document.file == STANDARD_INPUT else Path(document.file).parent
        sent = []
        for number, skill in enumerate(skills):
            try:
                sent.append(_sent(skill, base))
            except ValueError as error:
                path = ("spec", *(() if alone else ("skills", number)), "configuration", KEY)
                faults.append(f"{document.place(path)}: {'.'.join(map(str, path))}: {error}")
        documents_filled.append(replace(document, body={**document.body, "spec": _spec(spec, sent, alone)}))
    if faults:
        raise Faults(faults)
    return documents_filled


def _spec(spec: Mapping[str, Any], sent: list[Any], alone: bool) -> Mapping[str, Any]:
    return next(iter(sent), spec) if alone else {**spec, "skills": sent}


def _sent(skill: Any, base: Path) -> Any:
    configuration = skill.get("configuration") if isinstance(skill, dict) else None
    if not isinstance(configuration, dict) or KEY not in configuration:
        return skill
    if (skill.get("type") or skill.get("name")) != TYPE:
        raise ValueError(f"Only a skill of the type {TYPE} has {KEY}")
    name = configuration[KEY]
    if not isinstance(name, str) or not name:
        raise ValueError(f"{KEY} is the path of a folder")
    rest = {key: value for key, value in configuration.items() if key != KEY}
    return {**skill, "configuration": {**rest, "files": _files(base / Path(name).expanduser(), rest.get("skills"))}}


def _files(place: Path, wanted: Any) -> Mapping[str, str]:
    """Return the texts of a folder's skills, by their paths. Raises ValueError."""
    names = tuple(map(str, wanted)) if isinstance(wanted, list) else None
    skills = folder.skills_in(place, names)  # FolderInvalid is a ValueError
    top = place.resolve() if (place / folder.MANIFEST).is_file() else place.resolve().parent
    files: dict[str, str] = {}
    for skill in skills:
        inside = "" if skill.folder == top else f"{skill.folder.name}/"
        listed = [folder.MANIFEST, *skill.files()]
        if listed[-1] == "…":
            raise ValueError(f"{skill.folder} has more than {folder.FILES_SHOWN} files; use `git` for more")
        for path in listed:
            files[inside + path] = _text(skill.folder, path)
    wrong = given.fault(files)
    if wrong:
        raise ValueError(f"{place} does not fit: the files must be {wrong}")
    return files


def _text(place: Path, path: str) -> str:
    whole = Path(os.path.realpath(place / path))
    if not whole.is_relative_to(place):
        raise ValueError(f"{place / path} leads out of the skill's folder")
    try:
        return whole.read_bytes().decode()
    except OSError as error:
        raise ValueError(f"{place / path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{place / path} is not UTF-8 text; use `git` for it") from None
