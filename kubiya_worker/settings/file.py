"""The configuration file: YAML, with the line of each key; `${VAR}` and `${file:/path}` are filled in."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from kubiya_worker.errors import ConfigurationError

_CORRECT: Final = "Correct it; kubiya config validate FILE checks a file"
_EXAMPLE: Final = "kubiya config init FILE writes an example"
VARIABLE = re.compile(r"\$\{(?:file:([^}]+)|([A-Za-z_][A-Za-z0-9_]*))\}")


class FileEntry(NamedTuple):
    text: str  # as it is written
    where: str  # file:line

    def value(self, environ: Mapping[str, str]) -> str:
        """Return the text with its references filled in.

        Raises ConfigurationError for a variable that is not set, or a file that cannot be read.
        """
        return _expand(self.text, self.where, environ)


def read(path: Path, known_keys: Iterable[str], remedies: Mapping[str, str]) -> dict[str, FileEntry]:
    """Read a file into a dict of dotted key and entry. Raises ConfigurationError for a bad file or unknown key.

    `remedies` says what to do about words that are no keys, but that people take for keys.
    """
    import yaml  # slow to import, and not needed without a file

    document = _composed(path)
    entries: dict[str, FileEntry] = {}
    known_keys = list(known_keys)
    sections = {key.rpartition(".")[0] for key in known_keys} - {""}

    line_of_key: dict[str, int] = {}  # key -> line

    def walk(node: Any, prefix: str) -> None:
        if node.tag == "tag:yaml.org,2002:null":  # a section of which every line is commented out
            return
        if not isinstance(node, yaml.MappingNode):
            raise ConfigurationError(
                f"{path}:{node.start_mark.line + 1}: {prefix or 'the file'} has to be a mapping", remedy=_EXAMPLE
            )
        for key_node, value in node.value:
            key = f"{prefix}.{key_node.value}" if prefix else str(key_node.value)
            where = f"{path}:{key_node.start_mark.line + 1}"
            first = line_of_key.setdefault(key, key_node.start_mark.line + 1)
            if first != key_node.start_mark.line + 1:
                raise ConfigurationError(
                    f"{where}: {key} is there already, in line {first}", remedy="Remove one of them"
                )
            if key in sections:
                walk(value, key)
            elif key not in known_keys:
                near = difflib.get_close_matches(key, [*known_keys, *sections], 1)
                remedy = f"Did you mean {near[0]!r}?" if near else "Remove it; kubiya config explain lists the keys"
                raise ConfigurationError(f"{where}: unknown key {key!r}", remedy=remedies.get(key, remedy))
            elif not isinstance(value, yaml.ScalarNode):
                raise ConfigurationError(f"{where}: {key} has to be a single value", remedy=_EXAMPLE)
            elif value.tag != "tag:yaml.org,2002:null":
                entries[key] = FileEntry(str(value.value), where)

    if document is not None:
        walk(document, "")
    return entries


def _composed(path: Path) -> Any:
    """Return the file's YAML with the line of each node, or None for an empty file. Raises ConfigurationError."""
    import yaml

    try:
        return yaml.compose(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read: {error.strerror}",
            remedy="Name another file, or make one with kubiya config init",
        ) from error
    except yaml.YAMLError as error:  # its own text quotes the line, which may hold a key
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigurationError(
            f"{where} is not valid YAML{f': {problem}' if problem else ''}", remedy=_CORRECT
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not valid YAML: it is not UTF-8", remedy="Save it as UTF-8") from error
    except RecursionError as error:
        raise ConfigurationError(f"{path} is nested too deeply", remedy=_CORRECT) from error


def read_secret(path: Path, subject: str) -> str:
    """Return the content of a file without spaces around it. Raises ConfigurationError if unreadable or empty."""
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigurationError(
            f"{subject} {path} cannot be read: {why}", remedy="Check its path and rights"
        ) from error
    if not secret:
        raise ConfigurationError(f"{subject} {path} is empty", remedy="Write the value into it")
    return secret


def text_of(value: Any) -> str:
    """Return a value as the configuration file would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _expand(value: str, where: str, environ: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> str:
        if match[1]:
            return read_secret(Path(match[1]).expanduser(), f"{where}: the file")
        if match[2] not in environ:
            raise ConfigurationError(f"{where}: the variable {match[2]} is not set", remedy=f"export {match[2]}=…")
        return environ[match[2]]

    return VARIABLE.sub(replace, value)
