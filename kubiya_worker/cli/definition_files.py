"""Definition files: YAML or JSON documents {kind, name, spec}, with the line of each value and of each fault.

A file can have several documents, divided by `---`. A folder stands for its files `*.yaml`, `*.yml` and `*.json`, also
those in folders inside of it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from kubiya_worker.errors import ConfigurationError, UsageError

SUFFIXES: Final = (".yaml", ".yml", ".json")
STANDARD_INPUT: Final = "-"
LARGEST: Final = 4 << 20  # bytes of a file
MOST_VALUES: Final = 100_000  # in a document; aliases in YAML can make any number out of few lines
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


class Faults(ConfigurationError):
    """Definition files are wrong: a line for each fault, with its place."""

    def __init__(self, faults: Sequence[str]) -> None:
        count = f"{len(faults)} faults" if len(faults) > 1 else "1 fault"
        super().__init__("\n".join([f"Nothing was changed, because of {count}:", *(f"  {each}" for each in faults)]))

    def line(self) -> str:
        """Return all faults, each in a line of its own, as one line for many of them could not be read."""
        return self.message


def load(names: Sequence[str]) -> list[PlacedDocument]:
    """Read the documents of files, folders and standard input (`-`), in this order.

    Raises UsageError for a file that cannot be read or a folder without files, Faults for what is not such a document.
    """
    found: list[PlacedDocument] = []
    faults: list[str] = []
    for name in names:
        for file, text in _texts(name):
            try:
                found += _documents(file, text)
            except _Fault as fault:
                faults.append(str(fault))
    if faults:
        raise Faults(faults)
    if not found:
        raise UsageError(f"There is no document in {', '.join(names)}", remedy="kubiya init writes an example")
    return found


def explain(problems: Sequence[Mapping[str, Any]], documents: Sequence[PlacedDocument]) -> Faults | None:
    """Return the server's faults with file and line; None when one of them is about no document."""
    lines = []
    for problem in problems:
        where = list(problem.get("loc") or ())
        if where[:2] != ["body", "documents"] or len(where) < 3 or not isinstance(where[2], int):
            return None
        if not 0 <= where[2] < len(documents):
            return None
        path = where[3:]
        named = ".".join(map(str, path))
        lines.append(f"{documents[where[2]].place(path)}: {f'{named}: ' if named else ''}{problem.get('msg')}")
    return Faults(lines) if lines else None


class _Fault(Exception):
    def __init__(self, file: str, line: int, text: str) -> None:
        super().__init__(f"{file}:{line}: {text}")


def _texts(name: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each file that `name` stands for."""
    if name == STANDARD_INPUT:
        yield "standard input", sys.stdin.read()
        return
    path = Path(name).expanduser()
    if path.is_dir():
        files = sorted(each for each in path.rglob("*") if each.suffix in SUFFIXES and each.is_file())
        if not files:
            raise UsageError(f"The folder {name} has no file {', '.join(f'*{s}' for s in SUFFIXES)}")
    else:
        files = [path]
    for file in files:
        try:
            if file.stat().st_size > LARGEST:
                raise UsageError(f"{file} has more than {LARGEST >> 20} MiB")
            yield str(file), file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"{file} is not UTF-8 text") from error
        except OSError as error:
            raise UsageError(
                f"{file} cannot be read: {error.strerror}", remedy="Check its name and its rights"
            ) from error


def _documents(file: str, text: str) -> Iterator[PlacedDocument]:
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is None or node.tag == "tag:yaml.org,2002:null":  # nothing but comments between two ---
                continue
            lines: dict[Place, int] = {}
            _note(file, node, (), lines)
            body = loader.construct_document(node)
            _check(file, body, lines)
            yield PlacedDocument(body, file, lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = error.problem or error.context or "cannot be read"
        raise _Fault(file, mark.line + 1 if mark else 1, f"this is not YAML: {told}") from error
    except yaml.YAMLError as error:
        raise _Fault(file, 1, "this is not YAML") from error
    except ValueError as error:  # such as a date that no calendar has
        raise _Fault(file, 1, f"a value cannot be read: {error}") from error
    except RecursionError as error:
        raise _Fault(file, 1, "it is nested too deep") from error
    finally:
        loader.dispose()


def _note(file: str, node: yaml.Node, path: Place, lines: dict[Place, int]) -> None:
    """Note the line of each value; refuse a key that stands twice, of which YAML would drop one."""
    lines[path] = node.start_mark.line + 1
    if len(lines) > MOST_VALUES:
        raise _Fault(file, 1, f"a document has more than {MOST_VALUES:,} values")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*path, str(key.value))
            if place in lines:
                raise _Fault(
                    file, key.start_mark.line + 1, f"{key.value!r} is there twice, also in line {lines[place]}"
                )
            _note(file, value, place, lines)
            lines[place] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _note(file, value, (*path, number), lines)


def _check(file: str, body: Any, lines: Mapping[Place, int]) -> None:
    if not isinstance(body, dict):
        raise _Fault(file, lines[()], "a document is an object with kind, name and spec")
    for key in body:
        if key not in KEYS:
            raise _Fault(
                file, lines.get((str(key),), lines[()]), f"unknown field {key!r}; a document has kind, name, spec"
            )
    for key in ("kind", "name"):
        if not isinstance(body.get(key), str):
            raise _Fault(file, lines.get((key,), lines[()]), f"a document needs a {key}, which is a text")
    if not isinstance(body.get("spec"), dict | None):
        raise _Fault(file, lines[("spec",)], "spec is not an object")
    _check_values(file, body, (), lines)


def _check_values(file: str, value: Any, path: Place, lines: Mapping[Place, int]) -> None:
    """Refuse what JSON cannot say: YAML reads 2026-11-28 as a date, and a key 8080: as a number."""
    line = lines.get(path, 1)
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise _Fault(file, line, f"the key {key!r} is not a text; put it into quotes")
            _check_values(file, inner, (*path, key), lines)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _check_values(file, inner, (*path, number), lines)
    elif value is not None and not isinstance(value, str | int | float | bool):
        raise _Fault(file, line, f"YAML reads this as a {type(value).__name__}; put it into quotes")


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


@contextlib.contextmanager
def kept(text: str) -> Iterator[str]:
    """Put a text into a file of this user, and yield its name; an error leaves the file, so that no work is lost."""
    descriptor, name = tempfile.mkstemp(prefix="kubiya-", suffix=".yaml")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    try:
        yield name
    except BaseException:
        print(f"The text is kept in {name}", file=sys.stderr)
        raise
    Path(name).unlink(missing_ok=True)


class _Readable(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    block = "\n" in value and not any(line != line.rstrip() for line in value.split("\n"))
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if block else None)


_Readable.add_representer(str, _text)
