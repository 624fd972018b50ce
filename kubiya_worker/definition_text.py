"""Definitions as text: YAML or JSON documents {kind, name, spec}, with the line of each value and of each fault.

A text can have several documents, divided by `---`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

MOST_VALUES: Final = 100_000  # in a document; aliases in YAML can make any number out of few lines
MOST_CHARACTERS: Final = 16 << 20  # of the values of a text and of their paths, both written out: aliases repeat them
KEYS: Final = ("kind", "name", "spec")

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class PlacedDocument:
    """One document. `lines` has the line of each value, by its path: ("spec", "skills", 0, "type")."""

    body: dict[str, Any]
    file: str
    lines: Mapping[Place, int]

    def place(self, path: Sequence[str | int]) -> str:
        """Return `file:line` of the value at the path, or of the nearest value around it."""
        wanted = tuple(path)
        while wanted not in self.lines and wanted:
            wanted = wanted[:-1]
        return f"{self.file}:{self.lines.get(wanted, 1)}"


class TextFault(Exception):
    """A text is no definition: its message has file, line and what is wrong."""

    def __init__(self, file: str, line: int, text: str) -> None:
        super().__init__(f"{file}:{line}: {text}")
        self.line, self.text = line, text


class _Lines(dict[Place, int]):
    """The lines of a document's values. `characters` is what the text's values and paths come to, written out."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.characters = characters


def documents(file: str, text: str) -> Iterator[PlacedDocument]:
    """Yield the documents of a text; raise TextFault at the first fault. `file` is a name for messages."""
    try:
        loader = yaml.SafeLoader(text)
    except yaml.YAMLError as error:  # a character that no YAML may have
        raise TextFault(file, 1, "this is not YAML: it has a character that may not be there") from error
    characters = 0
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is None or node.tag == "tag:yaml.org,2002:null":  # nothing but comments between two ---
                continue
            lines = _Lines(characters)
            _note(file, node, (), lines)
            characters = lines.characters
            body = loader.construct_document(node)
            _check(file, body, lines)
            yield PlacedDocument(body, file, lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "cannot be read"
        raise TextFault(file, mark.line + 1 if mark else 1, f"this is not YAML: {problem}") from error
    except yaml.YAMLError as error:
        raise TextFault(file, 1, "this is not YAML") from error
    except ValueError as error:  # such as a date that no calendar has
        raise TextFault(file, 1, f"a value cannot be read: {error}") from error
    except (LookupError, AttributeError) as error:  # PyYAML's own faults: `!!int ""`, `!!bool x`, `!!timestamp x`
        raise TextFault(file, 1, "a value cannot be read: it is not of the type that its tag names") from error
    except RecursionError as error:
        raise TextFault(file, 1, "it is nested too deep") from error
    finally:
        loader.dispose()


def _note(file: str, node: yaml.Node, path: Place, lines: _Lines, width: int = 0) -> None:
    """Note the line of each value; refuse a key that stands twice, of which YAML would drop one."""
    lines[path] = node.start_mark.line + 1
    lines.characters += width + (len(node.value) if isinstance(node, yaml.ScalarNode) else 0)
    if lines.characters > MOST_CHARACTERS:
        raise TextFault(file, lines[path], f"the text stands for more than {MOST_CHARACTERS:,} characters")
    if len(lines) > MOST_VALUES:
        raise TextFault(file, 1, f"a document has more than {MOST_VALUES:,} values")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*path, str(key.value))
            if place in lines:
                raise TextFault(
                    file, key.start_mark.line + 1, f"{key.value!r} is there twice, also in line {lines[place]}"
                )
            _note(file, value, place, lines, width + 1 + len(str(key.value)))
            lines[place] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _note(file, value, (*path, number), lines, width + 1 + len(str(number)))


def _check(file: str, body: Any, lines: Mapping[Place, int]) -> None:
    if not isinstance(body, dict):
        raise TextFault(file, lines[()], "a document is an object with kind, name and spec")
    for key in body:
        if key not in KEYS:
            raise TextFault(
                file, lines.get((str(key),), lines[()]), f"unknown field {key!r}; a document has kind, name, spec"
            )
    for key in ("kind", "name"):
        if not isinstance(body.get(key), str):
            raise TextFault(file, lines.get((key,), lines[()]), f"a document needs a {key}, which is a text")
    if not isinstance(body.get("spec"), dict | None):
        raise TextFault(file, lines[("spec",)], "spec is not an object")
    _check_values(file, body, (), lines)


def _check_values(file: str, value: Any, path: Place, lines: Mapping[Place, int]) -> None:
    """Refuse what JSON cannot say: YAML reads 2026-11-28 as a date, and a key 8080: as a number."""
    line = lines.get(path, 1)
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TextFault(file, line, f"the key {key!r} is not a text; put it into quotes")
            _check_values(file, inner, (*path, key), lines)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _check_values(file, inner, (*path, number), lines)
    elif value is not None and not isinstance(value, str | int | float | bool):
        raise TextFault(file, line, f"YAML reads this as a {type(value).__name__}; put it into quotes")
    elif isinstance(value, int | float) and not abs(value) <= sys.float_info.max:
        raise TextFault(file, line, "JSON cannot say this number: it is too large, or not a number")


def dump(documents: Sequence[Mapping[str, Any]]) -> str:
    """Return the documents as YAML, with long texts as blocks that a person can edit."""
    return "---\n".join(
        yaml.dump(
            {key: document[key] for key in KEYS if document.get(key) or key != "spec"},
            Dumper=_Readable,
            sort_keys=False,
            allow_unicode=True,
            width=100,
        )
        for document in documents
    )


class _Readable(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    block = "\n" in value and not any(line != line.rstrip() for line in value.split("\n"))
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if block else None)


_Readable.add_representer(str, _text)
