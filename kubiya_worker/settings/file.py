"""The configuration file: YAML, with the line of each key, and `${VAR}` replaced from the environment."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kubiya_worker.errors import ConfigurationError

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Entry(NamedTuple):
    value: Any
    where: str  # file:line


def read(path: Path, known: Iterable[str], environ: Mapping[str, str]) -> dict[str, Entry]:
    """Dotted key -> entry. ConfigurationError for what cannot be read, is not known, or names an unset variable."""
    import yaml  # a worker without a file does not pay for it

    try:
        document = yaml.compose(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid YAML: {error}", remedy="Mend the file") from error
    found: dict[str, Entry] = {}
    known = list(known)
    sections = {key.rpartition(".")[0] for key in known} - {""}

    def walk(node: Any, prefix: str) -> None:
        if not isinstance(node, yaml.MappingNode):
            raise ConfigurationError(f"{path}:{node.start_mark.line + 1}: {prefix or 'the file'} has to be a mapping")
        for key_node, value in node.value:
            key = f"{prefix}.{key_node.value}" if prefix else str(key_node.value)
            where = f"{path}:{key_node.start_mark.line + 1}"
            if key in sections:
                walk(value, key)
            elif key not in known:
                near = difflib.get_close_matches(key, [*known, *sections], 1)
                raise ConfigurationError(
                    f"{where}: unknown key {key!r}", remedy=f"Did you mean {near[0]!r}?" if near else ""
                )
            elif not isinstance(value, yaml.ScalarNode):
                raise ConfigurationError(f"{where}: {key} has to be a single value")
            elif value.tag != "tag:yaml.org,2002:null":
                found[key] = Entry(_expand(value.value, where, environ), where)

    if document is not None:
        walk(document, "")
    return found


def _expand(value: str, where: str, environ: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> str:
        if match[1] not in environ:
            raise ConfigurationError(f"{where}: the variable {match[1]} is not set", remedy=f"export {match[1]}=…")
        return environ[match[1]]

    return VARIABLE.sub(replace, value)
