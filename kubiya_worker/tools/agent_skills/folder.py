"""Read and validate folders of the Agent Skills standard: https://agentskills.io/specification.

A folder has a SKILL.md, which begins with YAML between two lines of `---`. The keys that the standard names are checked
as it says. Others are left alone, because published folders have keys of single products (`version`, `argument-hint`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

MANIFEST: Final = "SKILL.md"
NAME_LIMIT: Final = 64  # characters, all four by the standard
DESCRIPTION_LIMIT: Final = 1024
COMPATIBILITY_LIMIT: Final = 500
SIZE_LIMIT: Final = 1_000_000  # bytes of SKILL.md
NO_PART: Final = frozenset({".git", "__pycache__"})  # folders that programs have made: no part of a skill
FILES_SHOWN: Final = 200
_NAME: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_FRONT_MATTER: Final = re.compile(r"\ufeff?---[ \t]*\r?\n(.*?)^---[ \t]*\r?$\n?(.*)", re.DOTALL | re.MULTILINE)


class FolderInvalid(ValueError):
    """The folder does not follow the standard; the message says what and where."""


@dataclass(frozen=True)
class AgentSkill:
    """One folder. `folder` has all links resolved."""

    name: str
    description: str
    folder: Path
    body: str
    compatibility: str = ""
    allowed_tools: str = ""

    def files(self) -> list[str]:
        """Return the paths of its files beside SKILL.md, relative to the folder and sorted; FILES_SHOWN at most."""
        names_of_files: list[str] = []
        for place, folders, names in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if name not in NO_PART)
            below = Path(place).relative_to(self.folder)
            names_of_files += [str(below / name) for name in sorted(names) if str(below / name) != MANIFEST]
            if len(names_of_files) > FILES_SHOWN:
                return [*names_of_files[:FILES_SHOWN], "…"]
        return names_of_files


def skills_in(place: Path, wanted: tuple[str, ...] | None = None) -> list[AgentSkill]:
    """Return the skills of a folder: the one that it is, or those in the folders directly in it.

    `wanted` are names of those to take. Raises FolderInvalid for the first folder that is not valid, and for names
    that are not there.
    """
    if (place / MANIFEST).is_file():
        return _chosen([read(place)], wanted, place)
    try:
        entries = sorted(entry for entry in place.iterdir() if (entry / MANIFEST).is_file())
    except OSError as error:
        raise FolderInvalid(f"{place} cannot be read: {error.strerror}") from None
    if not entries:
        raise FolderInvalid(f"{place} has no {MANIFEST}, and no folder in it has one")
    if wanted is not None:
        entries = [entry for entry in entries if entry.name in wanted]
    return _chosen([read(entry) for entry in entries], wanted, place)


def read(folder: Path, *, named: bool = True) -> AgentSkill:
    """Return the skill of a folder. `named` says that the folder must have the skill's name, as the standard wants."""
    manifest = folder / MANIFEST
    try:
        data = manifest.read_bytes()[: SIZE_LIMIT + 1]
    except OSError as error:
        raise FolderInvalid(f"{manifest} cannot be read: {error.strerror}") from None
    if len(data) > SIZE_LIMIT:
        raise FolderInvalid(f"{manifest} has more than {SIZE_LIMIT} bytes")
    match = _FRONT_MATTER.match(data.decode("utf-8", "replace"))
    if match is None:
        raise FolderInvalid(f"{manifest} does not begin with YAML between two lines of ---")
    try:
        header = yaml.safe_load(match[1])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f":{where.line + 2}" if where is not None else ""
        raise FolderInvalid(f"{manifest}{line}: not YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(header, Mapping):
        raise FolderInvalid(f"{manifest}: the YAML at its beginning is no mapping")
    name = _text(header, "name", NAME_LIMIT, manifest, required=True)
    if not _NAME.fullmatch(name):
        raise FolderInvalid(f"{manifest}: `name` {name!r} must have lowercase letters, digits and single hyphens only")
    if named and name != folder.name:
        raise FolderInvalid(f"{manifest}: `name` {name!r} must be the name of its folder, {folder.name!r}")
    _text(header, "license", 10_000, manifest)
    tools = header.get("allowed-tools")
    if not isinstance(tools, (str, list, type(None))):
        raise FolderInvalid(f"{manifest}: `allowed-tools` must be a text")
    if not isinstance(header.get("metadata"), (Mapping, type(None))):
        raise FolderInvalid(f"{manifest}: `metadata` must be a mapping")
    return AgentSkill(
        name=name,
        description=_text(header, "description", DESCRIPTION_LIMIT, manifest, required=True),
        folder=Path(os.path.realpath(folder)),
        body=match[2].strip(),
        compatibility=_text(header, "compatibility", COMPATIBILITY_LIMIT, manifest),
        allowed_tools=" ".join(map(str, tools)) if isinstance(tools, list) else tools or "",
    )


def _text(header: Mapping[str, Any], key: str, limit: int, manifest: Path, *, required: bool = False) -> str:
    value = header.get(key)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or not value.strip():
        raise FolderInvalid(f"{manifest}: `{key}` is missing or no text")
    if len(value.strip()) > limit:
        raise FolderInvalid(f"{manifest}: `{key}` has {len(value.strip())} characters; {limit} are the most")
    return value.strip()


def _chosen(skills: list[AgentSkill], wanted: tuple[str, ...] | None, place: Path) -> list[AgentSkill]:
    missing = sorted(set(wanted or ()) - {skill.name for skill in skills})
    if missing:
        raise FolderInvalid(f"{place} has no skill {missing[0]!r}")
    return skills if wanted is None else [skill for skill in skills if skill.name in wanted]
