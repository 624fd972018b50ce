"""Definition files: documents {kind, name, spec} (definition_text.py) out of files, folders and standard input.

A folder stands for its files `*.yaml`, `*.yml` and `*.json`, also those in folders inside of it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from kubiya_worker.definition_text import PlacedDocument, TextFault, documents
from kubiya_worker.errors import ConfigurationError, UsageError

SUFFIXES: Final = (".yaml", ".yml", ".json")
STANDARD_INPUT: Final = "-"
LARGEST: Final = 4 << 20  # bytes of a file


class Faults(ConfigurationError):
    """Definition files are wrong: a line for each fault, with its place."""

    def __init__(self, faults: Sequence[str]) -> None:
        count = f"{len(faults)} faults" if len(faults) > 1 else "1 fault"
        super().__init__("\n".join([f"Nothing was changed, because of {count}:", *(f"  {each}" for each in faults)]))

        self.problems = list(faults)  # as JSON has them (`cli/failure.py`)

    def line(self) -> str:
        """Return all faults, each in a line of its own, as one line for many of them could not be read."""
        return self.message


def load(names: Sequence[str]) -> list[PlacedDocument]:
    """Read the documents of files, folders and standard input (`-`), in this order.

    Raises UsageError for a file that cannot be read or a folder without files, Faults for what is not such a document.
    """
    placed: list[PlacedDocument] = []
    faults: list[str] = []
    for name in names:
        for file, text in _texts(name):
            try:
                placed += documents(file, text)
            except TextFault as fault:
                faults.append(str(fault))
    if faults:
        raise Faults(faults)
    if not placed:
        raise UsageError(f"There is no document in {', '.join(names)}", remedy="kubiya init writes an example")
    return placed


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


def _texts(name: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each file that `name` stands for."""
    if name == STANDARD_INPUT:
        yield "standard input", sys.stdin.read()
        return
    path = Path(name).expanduser()
    try:
        is_folder = path.is_dir()
    except OSError:  # this user may not look there; what is read below says so
        is_folder = False
    if is_folder:
        files = _files_below(path)
        if not files:
            raise UsageError(
                f"The folder {name} has no file {', '.join(f'*{s}' for s in SUFFIXES)}",
                remedy="Name another folder or a file; kubiya init writes an example",
            )
    else:
        files = [path]
    for file in files:
        try:
            if file.stat().st_size > LARGEST:
                raise UsageError(
                    f"{file} has more than {LARGEST >> 20} MiB",
                    remedy="Split it into several files of one folder, and name the folder",
                )
            yield str(file), file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"{file} is not UTF-8 text", remedy="Save it as UTF-8") from error
        except OSError as error:
            raise UsageError(
                f"{file} cannot be read: {error.strerror}", remedy="Check its name and its rights"
            ) from error


def _files_below(folder: Path) -> list[Path]:
    """Return the files with definitions. Raises UsageError for a folder that cannot be read: some are not all."""

    def refuse(error: OSError) -> None:
        raise UsageError(f"The folder {error.filename} cannot be read: {error.strerror}", remedy="Check its rights")

    found = [Path(root, name) for root, _, names in os.walk(folder, onerror=refuse) for name in names]
    return sorted(each for each in found if each.suffix in SUFFIXES and each.is_file())


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
